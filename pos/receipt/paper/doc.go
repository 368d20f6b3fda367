// Package paper reads ESC/POS as a printer does and says what came out: lines with
// their style, codes, cuts, pulses for the drawer. Tests print on it, where a golden
// file of bytes would be agreed to unread: whatever it does not know is an error, so
// bytes that slip into a stream as a command are seen.
//
// It knows the commands that pos/receipt writes and those by which other encoders
// write the same. It is no picture of any one printer.
package paper
