// Package peers compares pos/receipt with the work of others. It is a module of its
// own, so that none of them gets into posd, and has only tests (make receipt-peers):
//
//   - npm's @point-of-sale/receipt-printer-encoder writes the same receipts in three
//     widths. Its bytes are equal to ours once each of the differences listed in
//     bytes_test.go is rewritten; there is no other one. It counts every character
//     as one column, so the receipts have none that takes two.
//   - zbar reads the QR codes, from the picture that a printer gets and in all sizes.
//   - HTML Tidy checks the pages.
//   - golang.org/x/text has the same code pages.
package peers
