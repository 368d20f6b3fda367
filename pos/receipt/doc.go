// Package receipt makes the papers of a till: receipts, reports and slips, from one
// layout as text, as an HTML page and as ESC/POS for a printer.
//
// [Sale] and its like turn an event of pos/event into a [Document]: texts, rows of
// columns, rules, codes, cut and drawer. The document then is laid out for 32, 42 or
// 48 columns ([Document.Text], [Document.ESCPOS]) or written as HTML. Nothing is
// computed here but sums of what the event says: a reprint after years shows the
// same figures.
//
// It guarantees:
//   - No line is wider than the paper. Long texts are wrapped at words, East Asian
//     wide characters count as two columns; a figure is never torn unless it alone
//     is wider than the paper.
//   - Every line's amount and its discounts stand in the right column, which adds
//     up to the total.
//   - A text from outside (an item's description, a customer's reference, a note)
//     is never a command. Control characters do not get into any output, nor do
//     characters that turn the direction of writing; in HTML texts are escaped.
//   - A copy, a training receipt and a void say so at both ends, in double size.
//
// What it does not do: other currencies' words, right-to-left scripts (their letters
// are printed in the order of the text), grouping of thousands, pictures.
// Characters that a printer's character set lacks are written with others (ł as l,
// € as EUR, Ж as Zh), a "?" at worst; printers with a UTF-8 mode get UTF-8.
//
// # The QR code
//
// A receipt's QR code says which record of the terminal's journal made the sale, and
// the hash of all that was written up to and with that record (its chain head):
//
//	posd1:T7-1-311:3f9a0c1e-1042:00070E15…C4CBD2D9
//	  │      │        │     │         └ chain head, 64 hexadecimal digits
//	  │      │        │     └ number of the record in that journal
//	  │      │        └ first 8 digits of the journal's id
//	  │      └ receipt
//	  └ form of this text
//
// An auditor who has the paper and the terminal's journal, or head office's copy of
// it, proves with posctl that the sale on the paper is the one in the journal, and
// that nothing before it was changed since the paper was printed:
//
//	posctl verify -journal DIR -key terminal.pub
//	posctl dump -journal DIR -from 1042 | head -1
//
// The first proves the chain from its beginning and its signatures; the second shows
// the record: its "head" must be that of the paper, whose capitals do not matter, and
// "event" the sale. [ParseMark] reads the text in a program.
//
// The code is printed once the record is durable, so a receipt without a record
// cannot exist. A training receipt has no code.
package receipt
