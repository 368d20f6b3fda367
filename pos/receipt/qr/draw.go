package qr

// canvas is a symbol in the making.
type canvas struct {
	Code
	fixed []bool // modules of patterns and of format, which no mask changes
}

func draw(version int, codewords []byte) *Code {
	c := canvas{Code: Code{Size: 17 + 4*version}}
	c.dark = make([]bool, c.Size*c.Size)
	c.fixed = make([]bool, c.Size*c.Size)
	c.patterns(version)
	c.place(codewords)
	best, least := 0, 1<<30
	for mask := range 8 {
		c.mask(mask)
		c.format(mask)
		if p := c.penalty(least); p < least {
			best, least = mask, p
		}
		c.mask(mask) // off again
	}
	c.mask(best)
	c.format(best)
	return &Code{Size: c.Size, dark: c.dark}
}

func (c *canvas) set(x, y int, dark bool) {
	c.dark[y*c.Size+x] = dark
	c.fixed[y*c.Size+x] = true
}

func (c *canvas) patterns(version int) {
	for i := range c.Size { // timing
		c.set(6, i, i%2 == 0)
		c.set(i, 6, i%2 == 0)
	}
	c.finder(3, 3)
	c.finder(c.Size-4, 3)
	c.finder(3, c.Size-4)
	at := alignments(version, c.Size)
	last := len(at) - 1
	for i, x := range at {
		for j, y := range at {
			if i == 0 && j == 0 || i == 0 && j == last || i == last && j == 0 {
				continue // a finder is there
			}
			c.alignment(x, y)
		}
	}
	c.format(0) // keeps its place
	c.version(version)
}

func (c *canvas) finder(x, y int) {
	for dy := -4; dy <= 4; dy++ {
		for dx := -4; dx <= 4; dx++ {
			if px, py := x+dx, y+dy; px >= 0 && px < c.Size && py >= 0 && py < c.Size {
				ring := max(abs(dx), abs(dy))
				c.set(px, py, ring != 2 && ring != 4)
			}
		}
	}
}

func alignments(version, size int) []int {
	if version == 1 {
		return nil
	}
	n := version/7 + 2
	step := (version*8 + n*3 + 5) / (n*4 - 4) * 2
	at := make([]int, n)
	at[0] = 6
	for i, p := n-1, size-7; i >= 1; i, p = i-1, p-step {
		at[i] = p
	}
	return at
}

func (c *canvas) alignment(x, y int) {
	for dy := -2; dy <= 2; dy++ {
		for dx := -2; dx <= 2; dx++ {
			c.set(x+dx, y+dy, max(abs(dx), abs(dy)) != 1)
		}
	}
}

// format writes level M and the mask, twice, with their BCH check.
func (c *canvas) format(mask int) {
	check := mask // level M is 00
	for range 10 {
		check = check<<1 ^ check>>9*0x537
	}
	v := (mask<<10 | check) ^ 0x5412
	bit := func(i int) bool { return v>>i&1 != 0 }
	for i := range 6 {
		c.set(8, i, bit(i))
	}
	c.set(8, 7, bit(6))
	c.set(8, 8, bit(7))
	c.set(7, 8, bit(8))
	for i := 9; i < 15; i++ {
		c.set(14-i, 8, bit(i))
	}
	for i := range 8 {
		c.set(c.Size-1-i, 8, bit(i))
	}
	for i := 8; i < 15; i++ {
		c.set(8, c.Size-15+i, bit(i))
	}
	c.set(8, c.Size-8, true)
}

func (c *canvas) version(version int) {
	if version < 7 {
		return
	}
	check := version
	for range 12 {
		check = check<<1 ^ check>>11*0x1f25
	}
	v := version<<12 | check
	for i := range 18 {
		a, b := c.Size-11+i%3, i/3
		c.set(a, b, v>>i&1 != 0)
		c.set(b, a, v>>i&1 != 0)
	}
}

// place writes the bits in two columns at a time, up and down from the right.
func (c *canvas) place(codewords []byte) {
	i := 0
	for right := c.Size - 1; right >= 1; right -= 2 {
		if right == 6 {
			right = 5 // the column of the timing pattern
		}
		for n := range c.Size {
			y := n
			if (right+1)&2 == 0 {
				y = c.Size - 1 - n
			}
			for x := right; x >= right-1; x-- {
				at := y*c.Size + x
				if !c.fixed[at] && i < len(codewords)*8 {
					c.dark[at] = codewords[i/8]>>(7-i%8)&1 != 0
					i++
				}
			}
		}
	}
}

func (c *canvas) mask(mask int) {
	// All eight patterns repeat after 12 modules, both ways.
	var flip [12][12]bool
	for y := range flip {
		for x := range flip[y] {
			flip[y][x] = flips(mask, x, y)
		}
	}
	for y := range c.Size {
		row, from := &flip[y%12], y*c.Size
		for x, n := 0, 0; x < c.Size; x++ {
			if row[n] && !c.fixed[from+x] {
				c.dark[from+x] = !c.dark[from+x]
			}
			if n++; n == 12 {
				n = 0
			}
		}
	}
}

func flips(mask, x, y int) bool {
	switch mask {
	case 0:
		return (x+y)%2 == 0
	case 1:
		return y%2 == 0
	case 2:
		return x%3 == 0
	case 3:
		return (x+y)%3 == 0
	case 4:
		return (x/3+y/2)%2 == 0
	case 5:
		return x*y%2+x*y%3 == 0
	case 6:
		return (x*y%2+x*y%3)%2 == 0
	}
	return ((x+y)%2+x*y%3)%2 == 0
}

// penalty is the standard's measure of how hard a symbol is to read, or anything
// above most if it is above most.
func (c *canvas) penalty(most int) int {
	p, dark := 0, 0
	for y := range c.Size {
		if p > most {
			return p
		}
		row, column := run{size: c.Size}, run{size: c.Size}
		for x := range c.Size {
			p += row.next(c.dark[y*c.Size+x]) + column.next(c.dark[x*c.Size+y])
			if c.dark[y*c.Size+x] {
				dark++
			}
			if x > 0 && y > 0 && c.block(x, y) {
				p += 3
			}
		}
		p += row.end() + column.end()
	}
	total := c.Size * c.Size
	// Ten for each step of 5 % away from one half, the first one free.
	return p + 10*((abs(dark*20-total*10)+total-1)/total-1)
}

// run follows the runs of one colour along a line of modules.
type run struct {
	size   int
	dark   bool
	length int
	last   [7]int // the newest first
}

func (r *run) next(dark bool) int {
	if dark == r.dark {
		switch r.length++; {
		case r.length == 5:
			return 3
		case r.length > 5:
			return 1
		}
		return 0
	}
	r.push(r.length)
	p := 0
	if dark { // a light run ended
		p = r.finders()
	}
	r.dark, r.length = dark, 1
	return p
}

// end closes the line as if it went on in light.
func (r *run) end() int {
	if r.dark {
		r.push(r.length)
		r.length = 0
	}
	r.push(r.length + r.size)
	return r.finders()
}

func (r *run) push(length int) {
	if r.last[0] == 0 {
		length += r.size // the margin before the line
	}
	copy(r.last[1:], r.last[:])
	r.last[0] = length
}

// finders is the penalty for what looks like a finder pattern, 1:1:3:1:1 with light
// on one side.
func (r *run) finders() int {
	h, n := &r.last, r.last[1]
	if n == 0 || h[2] != n || h[3] != 3*n || h[4] != n || h[5] != n {
		return 0
	}
	p := 0
	if h[0] >= 4*n && h[6] >= n {
		p += 40
	}
	if h[6] >= 4*n && h[0] >= n {
		p += 40
	}
	return p
}

// block reports whether a module ends a square of four of one colour.
func (c *canvas) block(x, y int) bool {
	at := y*c.Size + x
	d := c.dark[at]
	return c.dark[at-1] == d && c.dark[at-c.Size] == d && c.dark[at-c.Size-1] == d
}

func abs(n int) int { return max(n, -n) }
