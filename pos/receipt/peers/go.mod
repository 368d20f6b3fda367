module posd/pos/receipt/peers

go 1.26.0

require (
	golang.org/x/text v0.43.0
	posd v0.0.0
)

require github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // indirect

replace posd => ../../..
