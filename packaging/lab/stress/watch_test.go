package main

import "testing"

// TestGrowth: a slow leak is seen, noise and a warm-up are not.
func TestGrowth(t *testing.T) {
	make := func(f func(i int) sample) (all []sample) {
		for i := range 60 {
			all = append(all, f(i))
		}
		return all
	}
	steady := func(i int) sample {
		s := sample{goroutines: 40 + i%9, descriptors: 50 + i%7, anon: 12000 + i%5*400}
		if i < 10 { // it warms up
			s = sample{goroutines: 20, descriptors: 20, anon: 5000}
		}
		return s
	}
	if found := growth(make(steady)); len(found) > 0 {
		t.Errorf("a false alarm: %v", found)
	}
	for name, leak := range map[string]func(int) sample{
		"goroutines":  func(i int) sample { s := steady(i); s.goroutines += i; return s },
		"descriptors": func(i int) sample { s := steady(i); s.descriptors += i; return s },
		"memory":      func(i int) sample { s := steady(i); s.anon += 200 * i; return s },
	} {
		if found := growth(make(leak)); len(found) != 1 {
			t.Errorf("a leak of %s: %v", name, found)
		}
	}
	if len(growth(nil)) == 0 {
		t.Error("no samples are no proof")
	}
}
