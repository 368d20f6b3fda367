// Package rig runs posd's programs on this machine for the labs: it makes tills with
// and without a backlog, starts a hub, and stops what it has started.
package rig
