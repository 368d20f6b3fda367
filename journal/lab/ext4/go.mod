module posd/journal/lab/ext4

go 1.26.0

replace posd => ../../..

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	golang.org/x/sys v0.49.0
	posd v0.0.0
)

require github.com/edsrzf/mmap-go v1.2.0 // indirect
