package receipt

import (
	"strings"
	"unicode/utf8"
)

// page is a printer's single-byte character set: ASCII and 128 more.
type page struct {
	name  string
	epson byte   // n of ESC t, as Epson and most others number it
	upper string // the characters of 0x80 to 0xff; U+FFFD where there is none
}

// hole stands for a byte without a character that can be printed.
const hole = '\uFFFD'

const (
	boxes    = "░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
	latin850 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈ"
	after850 = "ÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\uFFFD±‗¾¶§÷¸°¨·¹³²■\uFFFD"
)

var pages = [...]page{
	{"cp437", 0, "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»" + boxes + "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\uFFFD"},
	{"cp850", 2, latin850 + "ı" + after850},
	{"cp852", 18, "ÇüéâäůćçłëŐőîŹÄĆÉĹĺôöĽľŚśÖÜŤťŁ×čáíóúĄąŽžĘę¬źČş«»░▒▓│┤ÁÂĚŞ╣║╗╝Żż┐└┴┬├─┼Ăă╚╔╩╦╠═╬¤đĐĎËďŇÍÎě┘┌█▄ŢŮ▀ÓßÔŃńňŠšŔÚŕŰýÝţ´\uFFFD˝˛ˇ˘§÷¸°¨˙űŘř■\uFFFD"},
	{"cp858", 19, latin850 + "€" + after850},
	{"cp866", 17, "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмноп" + boxes + "рстуфхцчшщъыьэюяЁёЄєЇїЎў°∙·√№¤■\uFFFD"},
	{"wpc1252", 16, "€\uFFFD‚ƒ„…†‡ˆ‰Š‹Œ\uFFFDŽ\uFFFD\uFFFD‘’“”•–—˜™š›œ\uFFFDžŸ\uFFFD¡¢£¤¥¦§¨©ª«¬\uFFFD®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ"},
}

// utf8Page is the name of the mode in which the printer takes UTF-8.
const utf8Page = "utf-8"

// Charsets are the names of character sets that ProfileOf takes.
func Charsets() []string {
	names := make([]string, 0, len(pages)+1)
	for i := range pages {
		names = append(names, pages[i].name)
	}
	return append(names, utf8Page)
}

func pageOf(name string) *page {
	for i := range pages {
		if pages[i].name == name {
			return &pages[i]
		}
	}
	return nil
}

// code is the byte of a rune, 0 if the page lacks it.
func (p *page) code(r rune) byte {
	if r < utf8.RuneSelf {
		return byte(r)
	}
	n := byte(0x80)
	for _, have := range p.upper {
		if have == r && r != hole {
			return n
		}
		n++
	}
	return 0
}

// substitutes of characters that a page lacks: the replacement, a blank, and what
// it replaces.
var substitutes = [...]string{
	"A ÀÁÂÃÄÅĀĂĄǍА", "a àáâãäåāăąǎа", "AE Æ", "ae æ", "B Б", "b б", "C ÇĆĈĊČЦ", "c çćĉċčц", "Ch Ч", "ch ч",
	"D ĎĐÐДđ", "d ďđðд", "E ÈÉÊËĒĔĖĘĚЕЁЭЄ", "e èéêëēĕėęěеёэє", "F Ф", "f ф", "G ĜĞĠĢГҐ", "g ĝğġģгґ",
	"H ĤĦ", "h ĥħ", "I ÌÍÎÏĨĪĬĮİИІЙ", "i ìíîïĩīĭįıиій", "J Ĵ", "j ĵ", "K ĶК", "k ķк", "Kh Х", "kh х",
	"L ĹĻĽŁЛ", "l ĺļľłл", "M М", "m м", "N ÑŃŅŇН", "n ñńņňн", "O ÒÓÔÕÖØŌŎŐО", "o òóôõöøōŏőо", "OE Œ", "oe œ",
	"P П", "p п", "R ŔŖŘР", "r ŕŗřр", "S ŚŜŞŠȘС", "s śŝşšșс", "Sh Ш", "sh ш", "Shch Щ", "shch щ", "ss ß", "SS ẞ",
	"T ŢŤŦȚТ", "t ţťŧțт", "Th Þ", "th þ", "U ÙÚÛÜŨŪŬŮŰŲУЎ", "u ùúûüũūŭůűųуў", "V В", "v в", "W Ŵ", "w ŵ",
	"Y ÝŶŸЫ", "y ýŷÿы", "Ya Я", "ya я", "Yi Ї", "yi ї", "Yu Ю", "yu ю", "Z ŹŻŽЗ", "z źżžз", "Zh Ж", "zh ж",
	"' ‘’‚‛′ʼЬьЪъ`´", "\" “”„‟″«»", "- ‐‑‒–—―−", "... …", "* •●·∙", "x ×", ": ÷", "< ‹", "> ›", "(c) ©", "(R) ®",
	"TM ™", "EUR €", "GBP £", "JPY ¥", "No №", "o º°", "a ª", "1/2 ½", "1/4 ¼", "3/4 ¾", "1 ¹", "2 ²", "3 ³", "u µ", "! ¡", "? ¿",
}

// appendFolded appends a text from outside as this page can print it, still in
// UTF-8: cleaned, and for characters that the page lacks a substitute, "?" at
// worst. A nil page has all characters. It is done before the layout, because
// a substitute may be longer or shorter than what it stands for.
func (p *page) appendFolded(dst []byte, s string) []byte {
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch r = clean(r, size); {
		case r < 0:
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		case p == nil || p.code(r) != 0:
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, substitute(r)...)
		}
	}
	return dst
}

func substitute(r rune) string {
	if r >= 0xff01 && r <= 0xff5e { // full-width forms of ASCII
		return string(r - 0xff01 + '!')
	}
	if widthOf(r) == 0 {
		return "" // a lone accent: its letter stands before it
	}
	for _, s := range substitutes {
		if at := strings.IndexByte(s, ' '); strings.ContainsRune(s[at+1:], r) {
			return s[:at]
		}
	}
	return "?"
}

// appendEncoded appends folded text as the bytes of the page.
func (p *page) appendEncoded(dst, text []byte) []byte {
	if p == nil {
		return append(dst, text...)
	}
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		dst = append(dst, p.code(r))
	}
	return dst
}
