package operator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"posd/pos"
)

// Permission names something that not every operator may do.
type Permission string

// Permissions, one for each operation.
const (
	Sale           Permission = "sale"
	Training       Permission = "training"
	ItemUnknown    Permission = "item.unknown"
	PriceOpen      Permission = "price.open"
	PriceChange    Permission = "price.change"
	Discount       Permission = "discount"
	LineVoid       Permission = "line.void"
	BasketVoid     Permission = "basket.void"
	TenderReverse  Permission = "tender.reverse"
	CardResolve    Permission = "card.resolve"
	Return         Permission = "return"
	ReturnBlind    Permission = "return.blind"
	ReturnOther    Permission = "return.other"
	SaleVoid       Permission = "sale.void"
	ReceiptCopy    Permission = "receipt.copy"
	ShiftOpen      Permission = "shift.open"
	ShiftClose     Permission = "shift.close"
	ShiftHand      Permission = "shift.hand"
	ShiftReport    Permission = "shift.report"
	CashIn         Permission = "cash.in"
	CashOut        Permission = "cash.out"
	CashDrop       Permission = "cash.drop"
	CashDeclare    Permission = "cash.declare"
	DrawerOpen     Permission = "drawer.open"
	Export         Permission = "export"
	OperatorUnlock Permission = "operator.unlock"

	all Permission = "*" // also those of later releases
)

// measure is what a permission's limit counts.
type measure uint8

const (
	unlimited measure = iota
	percent
	money // minor units
)

// permissions are all there are, in the order of the documents.
var permissions = [...]struct {
	name  Permission
	limit measure
}{
	{Sale, unlimited}, {Training, unlimited}, {ItemUnknown, unlimited}, {PriceOpen, unlimited}, {PriceChange, unlimited}, {Discount, percent},
	{LineVoid, unlimited}, {BasketVoid, unlimited}, {TenderReverse, money}, {CardResolve, unlimited},
	{Return, money}, {ReturnBlind, money}, {ReturnOther, money}, {SaleVoid, money}, {ReceiptCopy, unlimited},
	{ShiftOpen, unlimited}, {ShiftClose, unlimited}, {ShiftHand, unlimited}, {ShiftReport, unlimited},
	{CashIn, money}, {CashOut, money}, {CashDrop, money}, {CashDeclare, unlimited}, {DrawerOpen, unlimited},
	{Export, unlimited}, {OperatorUnlock, unlimited},
}

// Grant is a permission with the most that it reaches to.
type Grant struct {
	Permission Permission
	Limit      int64 // minor units, or a pos.Rate for percent; NoLimit
}

// NoLimit of a grant.
const NoLimit = -1

// ErrGrant says what is wrong with the text of a grant.
var ErrGrant = errors.New("not a permission")

// ParseGrant reads "sale", "discount:10" (percent) or "cash.out:5000" (minor units); "*"
// is all of them without a limit.
func ParseGrant(s string) (Grant, error) {
	name, limit, limited := strings.Cut(s, ":")
	if name == string(all) && !limited {
		return Grant{all, NoLimit}, nil
	}
	m, ok := measureOf(Permission(name))
	if !ok {
		return Grant{}, fmt.Errorf("%w: %q; there are %s", ErrGrant, s, names())
	}
	g := Grant{Permission(name), NoLimit}
	if !limited {
		return g, nil
	}
	n, err := int64(0), error(nil)
	switch m {
	case unlimited:
		return g, fmt.Errorf("%w: %s has no limit", ErrGrant, name)
	case percent:
		var r pos.Rate
		r, err = pos.ParseRate(limit)
		if n = int64(r); n > 1_000_000 {
			err = pos.ErrOverflow
		}
	default:
		n, err = strconv.ParseInt(limit, 10, 64)
		if n > int64(pos.MaxAmount) {
			err = pos.ErrOverflow
		}
	}
	if err != nil || n < 0 {
		return g, fmt.Errorf("%w: %q: write discount:10 for percent, cash.out:5000 for minor units of the currency", ErrGrant, s)
	}
	g.Limit = n
	return g, nil
}

// String is what ParseGrant reads.
func (g Grant) String() string {
	if g.Limit == NoLimit {
		return string(g.Permission)
	}
	if m, _ := measureOf(g.Permission); m == percent {
		return string(pos.Rate(g.Limit).Append([]byte(string(g.Permission) + ":")))
	}
	return string(g.Permission) + ":" + strconv.FormatInt(g.Limit, 10)
}

func measureOf(p Permission) (measure, bool) {
	for i := range permissions {
		if permissions[i].name == p {
			return permissions[i].limit, true
		}
	}
	return 0, false
}

func names() string {
	var b []byte
	for i := range permissions {
		b = append(append(b, permissions[i].name...), ", "...)
	}
	return string(append(b, all...))
}

// Grants are what a role, or an approval, allows.
type Grants []Grant

// String is all of them, separated by blanks.
func (gs Grants) String() string {
	words := make([]string, 0, len(gs))
	for _, g := range gs {
		words = append(words, g.String())
	}
	return strings.Join(words, " ")
}

// ParseGrants reads a list of grants.
func ParseGrants(list []string) (Grants, error) {
	var gs Grants
	for _, s := range list {
		g, err := ParseGrant(s)
		if err != nil {
			return nil, err
		}
		gs = append(gs, g)
	}
	return gs, nil
}

// Allow says whether p is among them, for an amount. Of several the widest counts.
func (gs Grants) Allow(p Permission, amount int64) bool {
	for _, g := range gs {
		if (g.Permission == p || g.Permission == all) && (g.Limit == NoLimit || amount <= g.Limit) {
			return true
		}
	}
	return false
}

// Of returns what they say of one permission.
func (gs Grants) Of(p Permission) (g Grant, ok bool) {
	for _, h := range gs {
		switch {
		case h.Permission != p && h.Permission != all:
		case h.Limit == NoLimit:
			return Grant{p, NoLimit}, true
		case !ok || h.Limit > g.Limit:
			g, ok = h, true
		}
	}
	return g, ok
}

// Each returns them one by one, as they are known to this release.
func (gs Grants) Each() (each Grants) {
	for i := range permissions {
		if g, ok := gs.Of(permissions[i].name); ok {
			each = append(each, g)
		}
	}
	return each
}

// Rules are what the configuration says. They change while a till runs.
type Rules struct {
	Roles    map[string]Grants
	Idle     time.Duration // after which a session ends
	Attempts int           // wrong PINs after which an operator is locked
}
