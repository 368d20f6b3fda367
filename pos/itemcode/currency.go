package itemcode

import "strings"

// numerics are ISO 4217 codes with their numbers, as AI 393n writes them. A currency
// that is not here is refused in codes; prices by AI 392n name none.
const numerics = "AED784 ALL008 ARS032 AUD036 BAM977 BGN975 BHD048 BOB068 BRL986 BYN933 CAD124 CHF756 CLP152 CNY156 COP170 " +
	"CRC188 CZK203 DKK208 DOP214 DZD012 EGP818 EUR978 GBP826 GEL981 GTQ320 HKD344 HNL340 HUF348 IDR360 ILS376 INR356 ISK352 " +
	"JOD400 JPY392 KES404 KRW410 KWD414 KZT398 LKR144 MAD504 MDL498 MKD807 MXN484 MYR458 NGN566 NOK578 NZD554 OMR512 PAB590 " +
	"PEN604 PHP608 PKR586 PLN985 PYG600 QAR634 RON946 RSD941 RUB643 SAR682 SEK752 SGD702 THB764 TND788 TRY949 TWD901 TZS834 " +
	"UAH980 UGX800 USD840 UYU858 VND704 ZAR710"

// numeric is the number of a currency, or empty.
func numeric(code string) string {
	if i := strings.Index(numerics, code); len(code) == 3 && i >= 0 && i%7 == 0 {
		return numerics[i+3 : i+6]
	}
	return ""
}
