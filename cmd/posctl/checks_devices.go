package main

// printing looks at the receipt printer, as posd finds it.
func (p *patient) printing() finding {
	if p.status == nil {
		return p.silent()
	}
	r := &p.status.Printer
	switch {
	case !r.Configured:
		return ok("none is configured")
	case r.Condition == "ready" && !r.PaperLow, r.Condition == "unknown":
		return ok("%s", p.status.printer())
	case r.Condition == "ready":
		return attention("change its paper soon", "%s", p.status.printer())
	}
	return attention("look at its paper, cover, power and cable, and at printer.address; sales go on meanwhile", "%s", p.status.printer())
}

// cards looks at the payment terminal, and at payments of which nobody knows.
func (p *patient) cards() finding {
	if p.status == nil {
		return p.silent()
	}
	c := &p.status.Card
	switch {
	case len(c.Unsettled) > 0:
		return attention("see \"Card payments\" in the operators' guide: most end by themselves when the payment terminal answers", "%s", p.status.card())
	case !c.Configured:
		return ok("no payment terminal is configured")
	case !c.Reachable:
		return attention("is the payment terminal on, and on the network? See card.address; other tenders go on meanwhile", "%s", p.status.card())
	}
	return ok("%s", p.status.card())
}
