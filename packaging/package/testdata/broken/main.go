// Broken is a posd that does not come up, for the test of an upgrade that fails.
package main

import "os"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		println("posd broken")
		return
	}
	os.Exit(78)
}
