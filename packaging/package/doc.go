// Package packs posd for the people who install it: deb for Debian, ipk for
// Yocto's opkg, checksums, a signature, and for each package a list of what is
// in it, read back from the finished file.
//
//	package build   makes all of it in a folder, verifies it, and that a changed byte is refused
//	package verify  verifies a folder: signature, checksums, nothing missing
//	package sign    makes SHA256SUMS and its signature anew, over images in the folder, too
//
// The same sources give the same bytes, wherever and whenever they are packed:
// every time in a package is that of -epoch, every owner root, every mode is set
// here. Only the signature differs when no release key is given, because then a
// key is made for this one build and thrown away. It says so: such a signature
// shows that the files belong together, not who made them.
//
// It is a module of its own, so that what it needs never gets near posd's go.mod.
package main
