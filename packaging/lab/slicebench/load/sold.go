package load

// Sold is what a front end tells when it ends.
type Sold struct {
	Times
	Acks     []Ack          `json:"acks,omitempty"`
	Refused  map[string]int `json:"refused,omitempty"`  // by the problem's type; of attempts
	Broken   int            `json:"broken,omitempty"`   // attempts without an answer
	Unclear  []string       `json:"unclear,omitempty"`  // answers that are neither a sale nor a problem document
	GivenUp  []string       `json:"given_up,omitempty"` // keys
	LongestS float64        `json:"longest_s"`          // without an acknowledgement
}
