//go:build posdlab

package lab

import (
	"strings"
	"testing"
)

// bugs are mistakes that could have been made, each where it would be made.
var bugs = []string{
	"early-ack",           // journal: acknowledged before the sync
	"dropped-key",         // register: a key is new each time
	"step-key",            // till: likewise for the steps of a basket
	"tender-soon",         // register: a payment need not be durable at once
	"receipt-gap",         // register: a receipt number is left out
	"shift-goes-on",       // register: yesterday's shift takes today's sales
	"version-ignored",     // till: the second window wins
	"void-with-money",     // till: a basket is voided though money was taken
	"return-twice",        // till: two baskets give back the same goods
	"change-stays",        // till: the drawer does not give change
	"training-counts",     // till: training stands in the totals
	"z-stands-still",      // till: two Z reports have one number
	"discounts-forgotten", // till: the opening state loses a basket's discounts
}

// TestPlantedBugs is the negative control of TestModel: each bug must be seen.
func TestPlantedBugs(t *testing.T) {
	const most = 60000
	for _, bug := range bugs {
		t.Run(bug, func(t *testing.T) {
			t.Setenv("POSD_PLANTED_BUG", bug)
			_, err := shops(t, most)
			if err == nil {
				t.Fatalf("not seen in %d steps", most)
			}
			what, _, _ := strings.Cut(err.Error(), "\n")
			t.Log("seen:", what)
		})
	}
}

// TestPlantedBugsAtOnce is the negative control of TestWindowsAtOnce.
func TestPlantedBugsAtOnce(t *testing.T) {
	for _, bug := range []string{"stale-return", "return-twice", "dropped-key", "void-with-money"} {
		t.Run(bug, func(t *testing.T) {
			t.Setenv("POSD_PLANTED_BUG", bug)
			_, err := playWindows(t.TempDir(), 30, 150)
			if err == nil {
				t.Fatal("not seen")
			}
			what, _, _ := strings.Cut(err.Error(), "\n")
			t.Log("seen:", what)
		})
	}
}
