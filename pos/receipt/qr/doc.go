// Package qr makes QR codes (ISO/IEC 18004, model 2) of short texts, for printers
// that cannot draw one themselves and for receipts on a screen.
//
// It is small on purpose: error correction level M, versions 1 to 15 (a text of
// at most 412 bytes), bytes and the alphanumeric set, which a text's tail gets
// where that is shorter. Every result has the mask with the least penalty, so it
// is the one that any other complete encoder gives for the same segments.
//
// It does not do: other levels, Kanji, ECI (text that is not ASCII is written as
// UTF-8, which every reader of today guesses), structured append, Micro QR.
package qr
