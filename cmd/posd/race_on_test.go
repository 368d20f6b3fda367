//go:build race

package main

// raced: the race detector keeps many times the memory of what it watches.
const raced = true
