package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"posd/pos/receipt"
)

// folder is where make installed the library.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../.tools/receipt-peers")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatalf("%v; run make receipt-peers", err)
	}
	return dir
}

func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, errs.String(), out)
	}
	return out
}

var kinds = map[receipt.Kind]string{receipt.Text: "text", receipt.Row: "row", receipt.Rule: "rule", receipt.QR: "qr",
	receipt.Code128: "code128", receipt.EAN13: "ean13", receipt.Cut: "cut", receipt.Drawer: "drawer"}

// job is a document to be written.
type job struct {
	doc     receipt.Document
	columns int
}

// theirs is each job as the library writes it, in code page 858.
func theirs(t *testing.T, jobs []job) [][]byte {
	t.Helper()
	type block struct {
		Kind   string   `json:"kind"`
		Bold   bool     `json:"bold"`
		Double bool     `json:"double"`
		Center bool     `json:"center"`
		Cells  []string `json:"cells"`
		Data   string   `json:"data"`
	}
	type document struct {
		Columns  int     `json:"columns"`
		Codepage string  `json:"codepage"`
		Blocks   []block `json:"blocks"`
	}
	var in []document
	for _, j := range jobs {
		d := document{Columns: j.columns, Codepage: "cp858"}
		for _, b := range j.doc.Blocks {
			d.Blocks = append(d.Blocks, block{kinds[b.Kind], b.Style&receipt.Bold != 0, b.Style&receipt.Double != 0, b.Style&receipt.Center != 0, b.Cells, b.Data})
		}
		in = append(in, d)
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	if err := json.Unmarshal(run(t, text, "node", filepath.Join(folder(t), "encode.mjs")), &out); err != nil || len(out) != len(jobs) {
		t.Fatalf("%d streams for %d documents: %v", len(out), len(jobs), err)
	}
	return out
}
