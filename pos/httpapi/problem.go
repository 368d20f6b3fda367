package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"posd/pos/event"
	"posd/pos/till"
)

// kind is one type of problem. slug and status are part of the interface.
type kind struct {
	slug    string
	status  int
	title   string
	meaning string // for docs/problems.md: when, and what the caller does
}

// problem is one answer of a kind.
type problem struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	kind       *kind
	detail     string
	pointer    string // JSON pointer into the request's body, or empty
	retryAfter int    // seconds, 0: no header
	permission string // those that are missing, separated by blanks
	cause      string // where those of a kind call for different actions: which
	basket     string // that is in the way
	tender     string // likewise
	sale       string // that a basket became
}

const urn = "urn:posd:problem:"

// Error lets a problem travel as the error of an action.
func (p *problem) Error() string { return p.detail }

// kinds holds all problems. Their order is that of the document.
var kinds = []kind{
	{"malformed-json", 400, "Body is not JSON", "The body cannot be parsed, or something follows it. Correct the front end."},
	{"invalid-utf8", 400, "Body is not UTF-8", "JSON is UTF-8. Correct the front end's encoding."},
	{"duplicate-member", 400, "Member given twice", "An object names a member twice, so that nobody can tell which counts."},
	{"unknown-member", 400, "Unknown member", "The pointer names a member that this release does not know: a typing error, or a newer front end."},
	{"wrong-type", 400, "Wrong JSON type", "The pointer names a value of the wrong JSON type."},
	{"idempotency-key-missing", 400, "Idempotency-Key missing", "Each checkout needs one Idempotency-Key header: a random value, kept until the answer has come."},
	{"idempotency-key-invalid", 400, "Idempotency-Key invalid", "The key has to be 1 to 128 printable ASCII characters, once."},
	{"query-invalid", 400, "Query invalid", "The query has to name what is looked for, and nothing else."},
	{"unauthorized", 401, "Token missing or unknown", "Send Authorization: Bearer with a token made by posctl token add."},
	{"session-required", 401, "Operator not signed in", "The operators of this terminal sign in, and the call brings no session, or one that has ended. Sign in and repeat the call with the same key: whether an earlier attempt took effect is answered then."},
	{"pin-wrong", 401, "Operator or PIN wrong", "There is no such operator, or the PIN is another one. After operators.attempts wrong ones the operator is locked."},
	{"permission-required", 403, "Not allowed", "The operator's role does not allow this. The member permission names what is missing, as POST /v1/operators/approve takes it for a second operator."},
	{"other-operator", 403, "Another operator", "The body names another operator than the session's."},
	{"origin-not-allowed", 403, "Origin not allowed", "The web page's origin is not in http.origins of the configuration."},
	{"host-not-allowed", 403, "Host not allowed", "The Host header is not a name of this terminal: use 127.0.0.1, localhost, or the address that it listens on."},
	{"not-found", 404, "No such resource", "There is nothing at this path."},
	{"sale-not-found", 404, "No such sale", "This terminal's journal holds no such sale (any more)."},
	{"item-not-found", 404, "No such item", "The catalogue of this terminal has no item with this code. The detail says whether the code was misread."},
	{"operator-not-found", 404, "No such operator", "The operators file of this terminal has no such operator."},
	{"report-not-found", 404, "No such report", "This terminal's journal holds no such Z report (any more)."},
	{"export-not-found", 404, "No such export", "There is none of that name, or not any more: posd was started since, or newer ones took its place. Ask for it anew."},
	{"paper-not-found", 404, "No such paper", "There is no paper of this, or the printer has had none of that name lately."},
	{till.CodeNoBasket, 404, "No such basket", "No basket of that id is open or parked. With a cause it was completed, and sale names what it became, or voided; without one neither is known any more."},
	{till.CodeNoLine, 404, "No such line", "The basket, or the sale, has no line of that number."},
	{till.CodeNoTender, 404, "No such tender", "The basket has no tender of that id."},
	{"method-not-allowed", 405, "Method not allowed", "The Allow header lists the methods."},
	{"idempotency-key-reused", 409, "Idempotency-Key reused", "The key belongs to a request with another path, body or If-Match. A new one needs a new key; a repeated one all three as they were."},
	{"no-operators", 409, "No operators", "This terminal has no operators who sign in. Name the operator in each call."},
	{till.CodeState, 409, "Basket is not in the state for this", "It is parked, or being paid for, or a tender's outcome is not known. The cause says which."},
	{"payment-terminal-busy", 409, "Payment terminal is busy", "A customer of another basket is at the payment terminal. Nothing happened. Try again when they are done."},
	{till.CodeShift, 409, "Shift is not in the state for this", "No shift is open, or one is, or it cannot end yet. The cause says which."},
	{till.CodeAlreadyOut, 409, "Sale was taken back", "The sale, or a part of it, has come back already."},
	{till.CodeFull, 409, "Too many open baskets", "The open and parked baskets take all the room that they may take together. Complete or void some."},
	{till.CodeVersion, 412, "Basket has changed", "If-Match names an older version. Read the basket again."},
	{"events-gone", 410, "Events are not there any more", "The journal does not hold the event behind Last-Event-ID (any more): it was freed, or the terminal has another journal now. Read what you show anew, then begin without Last-Event-ID."},
	{"export-not-done", 409, "Export is not done", "It is being made, or has failed: its state says which, and why. With Retry-After, try again then."},
	{"no-printer", 409, "No printer", "The configuration names none (printer.address). Ask for the paper as text, html or escpos: a receipt with as in the body, all others with GET."},
	{"body-too-large", 413, "Body too large", "The body is larger than http.max_body. Split the sale."},
	{"unsupported-media-type", 415, "Content type not supported", "Send application/json, without a content encoding."},
	{"no-lines", 422, "Sale without lines", "A sale has at least one line."},
	{"too-many-lines", 422, "Too many lines", "A sale has at most 500 lines. Split it."},
	{"too-many-tenders", 422, "Too many tenders", "A sale has at most 20 tenders."},
	{"sale-too-large", 422, "Sale too large", "The sale does not fit into one record of the journal (128 KiB). Split it."},
	{"unknown-item", 422, "Unknown item", "The catalogue has no such code. Import it, or send the line without item but with description, tax and price."},
	{"code-invalid", 422, "Code cannot be read", "The code is misread, or no item's. The detail names the character that does not fit and says what to do. Scan again."},
	{"unit-mismatch", 422, "Other unit", "The label carries a measure in another unit than that in which the catalogue sells the item. Correct the catalogue."},
	{till.CodeLabel, 422, "Quantity of a label", "A label with a weight, a number or a price is one piece. Send it once for each piece, without a quantity. Of a line that has an amount for the whole of it the quantity stays as it is."},
	{"item-expired", 422, "Use-by date has passed", "The label says that the item must not be sold any more."},
	{"unknown-tax", 422, "Unknown tax code", "The tax code is not in the configuration's tax table."},
	{"price-required", 422, "Price required", "The line has no price: give price per unit, or amount for the whole line."},
	{"price-and-amount", 422, "Price and amount", "Give either price or amount."},
	{"description-required", 422, "Description required", "A line without item needs a description."},
	{"tax-required", 422, "Tax code required", "A line without item needs a tax code."},
	{"fractional-money", 422, "Money is not an integer", "Money is an integer number of minor units: 299 for 2.99."},
	{till.CodeNegative, 422, "Amount below zero", "Prices, amounts and quantities are zero or more."},
	{till.CodeOverflow, 422, "Number too large", "Amounts go up to 10^15 minor units, quantities up to 10^12 units, and so do their products and sums. The bar code of an item of the catalogue is no amount and no quantity: it was scanned where a number is typed."},
	{till.CodeQuantity, 422, "Quantity invalid", "A quantity is an integer or a decimal string with at most 3 decimals: 2 or \"1.250\". It is above zero unless the line has an amount."},
	{"currency-mismatch", 422, "Other currency", "The terminal sells in the currency of its configuration only."},
	{"value-invalid", 422, "Value not allowed", "The pointer names a value outside of those listed in the detail."},
	{"text-invalid", 422, "Text not allowed", "The text is empty, too long, or holds control characters."},
	{till.CodeTender, 422, "Tender not acceptable", "A tender is cash, card, voucher or account, above zero, or below it where the customer is owed money. All but cash need a reference, which is not a card number."},
	{till.CodeUnderpaid, 422, "Tenders below the total", "Add a tender for the rest."},
	{till.CodeOverpaid, 422, "Change without cash", "Change comes from cash only, and no more is paid out than the customer is owed. Lower the tender."},
	{till.CodeDiscount, 422, "Discount not possible", "A discount is a percentage up to 100 or an amount up to what it is taken off, and none is taken off goods that come back."},
	{till.CodeReturn, 422, "Return not possible", "More would come back than was sold, or it is not goods that were sold."},
	{till.CodeAge, 422, "Age not checked", "A line may be sold to older buyers only. Make sure of the buyer's age and set it."},
	{till.CodeDrawer, 422, "Not so much in the drawer", "As far as the till knows, the drawer holds less. Count it, or correct the amount."},
	{"operator-locked", 429, "Operator locked", "There were too many wrong PINs. No PIN of this operator is looked at before Retry-After is over, unless somebody ends the lock."},
	{"busy", 429, "Too much at once", "Too many sales wait, or memory is short for a large one. Nothing happened. Try again after Retry-After with the same key."},
	{"too-many-requests", 429, "Requests too fast", "Nothing happened. The terminal takes http.rate sales a second from each front end, and four times as many other requests. Try again after Retry-After, with the same key."},
	{"too-many-streams", 429, "Too many event streams", "Others have all of them. Close those that nobody reads; they end by themselves when the client is gone. Try again after Retry-After."},
	{"internal", 500, "Internal error", "The log says more. Try again with the same key."},
	{"no-space", 503, "No space left for sales", "Nothing happened. Free space on the data partition or connect the terminal to head office, which lets it free sales that have arrived there."},
	{"read-only", 503, "Journal is read-only", "Nothing happened. The data partition is mounted read-only: mount it writable and start posd again. Sales that were made can be looked up and are shipped meanwhile."},
	{"outcome-unknown", 503, "Not durable in time", "The sale may have been made or not. Send the same request with the same key until it is answered."},
	{"journal-failed", 503, "Storage failed", "The device did not take the sale. posd ends; the sale may have been made or not: ask again with the same key when it runs again."},
	{"stopping", 503, "Stopping", "Nothing happened. Try again with the same key when posd runs again."},
	{"index-behind", 503, "Index not up to date", "The index of sales is being built or its device is slow, or what has ended a basket is not durable yet. Try again after Retry-After."},
	{"payment-terminal-down", 503, "Payment terminal cannot be reached", "It was not asked: nobody is charged. Look after it, take another tender, or type the reference of a slip from another payment terminal. It is tried again when Retry-After is over."},
	{"printer-unavailable", 503, "Printer does not print", "The printer does not answer, or too many papers wait for it. Nothing happened. Look at it, then ask again after Retry-After, when it is tried again."},
	{"not-ready", 503, "Not ready", "The reasons say why no sale can be taken."},
}

// kindOf returns the kind of a slug. A slug that is not in the table is a bug of
// this package, which a test excludes.
func kindOf(slug string) *kind {
	for i := range kinds {
		if kinds[i].slug == slug {
			return &kinds[i]
		}
	}
	return kindOf("internal")
}

func refuse(slug, detail string) *problem { return &problem{kind: kindOf(slug), detail: detail} }

func (p *problem) at(pointer string) *problem {
	p.pointer = pointer
	return p
}

func (p *problem) retry(seconds int) *problem {
	p.retryAfter = seconds
	return p
}

// tried says when something is tried that answers nothing now, and is not asked meanwhile;
// zero: with the next call.
func (p *problem) tried(at time.Time) *problem {
	if at.IsZero() {
		p.detail += "; the next call tries it again"
		return p.retry(1)
	}
	p.retryAfter = seconds(at)
	p.detail += "; it is tried again in " + strconv.Itoa(p.retryAfter) + " s"
	return p
}

// seconds are those that have to pass until then, at least one.
func seconds(at time.Time) int { return max(int(time.Until(at)/time.Second)+1, 1) }

// write answers with the problem and returns its status.
func (p *problem) write(w http.ResponseWriter) int {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.kind.slug {
	case "unauthorized", "origin-not-allowed", "host-not-allowed":
		h.Set("Connection", "close") // whoever is not let in keeps no connection
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.kind.status)
	w.Write(p.append(make([]byte, 0, 512)))
	return p.kind.status
}

func (p *problem) append(b []byte) []byte {
	b = append(append(append(b, `{"type":"`+urn...), p.kind.slug...), `","title":`...)
	b = event.AppendString(b, p.kind.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.kind.status), 10)
	b = event.AppendString(append(b, `,"detail":`...), p.detail)
	b = appendSome(b, "pointer", p.pointer)
	b = appendSome(b, "permission", p.permission)
	b = appendSome(b, "cause", p.cause)
	b = appendSome(b, "basket", p.basket)
	b = appendSome(b, "tender", p.tender)
	b = appendSome(b, "sale", p.sale)
	return append(b, "}\n"...)
}
