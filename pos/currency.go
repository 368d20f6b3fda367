package pos

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCurrency means that a code is not an ISO 4217 currency with minor units.
var ErrCurrency = errors.New("unknown currency")

// currencies holds, by number of decimals, the ISO 4217 list of active codes.
// Metals, test codes and units of account without decimals (XAU, XTS, XDR, XXX)
// are not here: no till takes them.
var currencies = [...]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN " +
		"BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN " +
		"ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD " +
		"KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR " +
		"MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON " +
		"RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT " +
		"TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

// CurrencyOf returns the currency of an ISO 4217 alphabetic code in capitals.
// Errors: ErrCurrency.
func CurrencyOf(code string) (Currency, error) {
	if len(code) == 3 && !strings.Contains(code, " ") {
		for exponent, codes := range currencies {
			// Codes are three letters and a blank: a match elsewhere spans two of them.
			if i := strings.Index(codes, code); i >= 0 && i%4 == 0 {
				return Currency{Code: codes[i : i+3], Exponent: exponent}, nil
			}
		}
	}
	return Currency{}, fmt.Errorf("%w %s: give an ISO 4217 code in capitals, for example EUR", ErrCurrency, clip(code))
}
