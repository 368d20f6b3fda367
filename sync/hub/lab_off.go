//go:build !posdlab

package hub

// lab is what a lab asks of a hub; see lab_on.go.
func (o *Options) lab() {}
