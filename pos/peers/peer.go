package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"posd/pos"
	"posd/pos/event"
)

// peer is the HTTP side of the till on SQLite.
type peer struct {
	store *store
	token [32]byte // its SHA-256
	items map[string]pos.Line
	rates map[string]pos.Rate
}

// order is the body of a checkout, as far as the peer takes it.
type order struct {
	Operator string `json:"operator"`
	Lines    []struct {
		Item        string       `json:"item"`
		Description string       `json:"description"`
		Tax         string       `json:"tax"`
		Price       *pos.Money   `json:"price"`
		Quantity    jsonQuantity `json:"quantity"`
	} `json:"lines"`
	Tenders []struct {
		Kind      string    `json:"kind"`
		Amount    pos.Money `json:"amount"`
		Reference string    `json:"reference"`
	} `json:"tenders"`
}

// jsonQuantity is an integer or a decimal string.
type jsonQuantity struct{ pos.Qty }

func (q *jsonQuantity) UnmarshalJSON(b []byte) (err error) {
	q.Qty, err = pos.ParseQty(strings.Trim(string(b), `"`))
	return err
}

// runPeer serves until a signal.
func runPeer(args []string) error {
	fs := flag.NewFlagSet(peerFlag, flag.ContinueOnError)
	file := fs.String("db", "", "database")
	items := fs.String("items", "", "CSV file")
	listen := fs.String("listen", "", "address")
	token := fs.String("token", "", "bearer token")
	most := fs.Int("most", 1, "sales in one transaction")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &peer{token: sha256.Sum256([]byte(*token)), rates: map[string]pos.Rate{"A": 190_000, "B": 70_000}}
	var err error
	if p.items, err = readItems(*items); err != nil {
		return err
	}
	if p.store, err = openStore(*file, *most); err != nil {
		return err
	}
	defer p.store.close()
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/checkout", p.checkout)
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", metrics)
	s := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	err = s.Shutdown(context.Background())
	<-failed
	return err
}

// metrics has the one figure that the bench asks for, by the name that posd gives it.
func metrics(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
}

// readItems takes the whole catalogue into memory.
func readItems(path string) (map[string]pos.Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	items := make(map[string]pos.Line, len(rows))
	for _, row := range rows[1:] { // code, description, department, unit, price, tax
		price, err := strconv.ParseInt(strings.Replace(row[4], ".", "", 1), 10, 64)
		if err != nil {
			return nil, err
		}
		items[row[0]] = pos.Line{Item: row[0], Description: row[1], Department: row[2], Unit: row[3], Price: pos.Money(price), Tax: row[5]}
	}
	return items, nil
}

func (p *peer) checkout(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(token))
	key := r.Header.Get("Idempotency-Key")
	switch {
	case subtle.ConstantTimeCompare(sum[:], p.token[:]) != 1:
		http.Error(w, "token unknown", http.StatusUnauthorized)
		return
	case key == "" || len(key) > 128 || r.Header.Get("Content-Type") != "application/json":
		http.Error(w, "key or content type missing", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := &sale{key: key, hash: sha256.Sum256(body)}
	if err := p.price(body, &s.e); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	switch err := p.store.keep(r.Context(), s); {
	case errors.Is(err, errReused):
		http.Error(w, err.Error(), http.StatusConflict)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(s.answer)))
	h.Set("Location", "/v1/sales/"+strconv.FormatUint(s.e.Number, 10))
	status := http.StatusCreated
	if s.replayed {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	w.Write(s.answer)
}

// price decodes an order and computes the sale.
func (p *peer) price(body []byte, e *event.SaleCompleted) error {
	var o order
	if err := json.Unmarshal(body, &o, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	e.Operator = o.Operator
	e.Lines = make([]pos.Line, len(o.Lines))
	for i := range o.Lines {
		in, l := &o.Lines[i], &e.Lines[i]
		if in.Item != "" {
			item, ok := p.items[in.Item]
			if !ok {
				return fmt.Errorf("line %d: no item %s", i+1, in.Item)
			}
			*l = item
		} else {
			*l = pos.Line{Description: in.Description, Unit: "pc", Tax: in.Tax}
		}
		if in.Price != nil {
			l.Price = *in.Price
		}
		if l.Qty = in.Quantity.Qty; l.Qty == 0 {
			l.Qty = 1000
		}
		l.Rate = p.rates[l.Tax]
	}
	for _, t := range o.Tenders {
		e.Tenders = append(e.Tenders, pos.Tender{Kind: pos.TenderKind(t.Kind), Amount: t.Amount, Reference: t.Reference})
	}
	sums, err := pos.Compute(e.Lines, pos.ComputeOptions{})
	if err != nil {
		return err
	}
	settled, err := pos.CheckTenders(sums.Total, e.Tenders, 1)
	e.Taxes, e.Total, e.Change = sums.Taxes, sums.Total, settled.Change
	return err
}

// appendAnswer is posd's answer to a checkout.
func appendAnswer(dst []byte, number uint64, sale []byte) []byte {
	dst = hex.AppendEncode(append(dst, `{"event":{"journal":"`...), make([]byte, 16))
	dst = strconv.AppendUint(append(dst, `","seq":`...), number, 10)
	return append(append(append(dst, `},"sale":`...), sale...), "}\n"...)
}
