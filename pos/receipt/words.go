package receipt

// word is one of the few that stand on a receipt in the shop's language. All other
// text is the shop's or the catalogue's own.
type word uint8

const (
	wReceipt word = iota
	wCopy
	wTraining
	wVoid
	wTill
	wOperator
	wShift
	wDay
	wCustomer
	wReturn
	wOfReceipt
	wOfSale
	wLine
	wInsteadOf
	wDiscount
	wSubtotal
	wTotal
	wRounding
	wCash
	wCard
	wVoucher
	wAccount
	wChange
	wPaidOut
	wReference
	wAuth
	wOffline
	wTax
	wNet
	wGross
	wTaxNumber
	wAge
	wX
	wZ
	wSales
	wTurnover
	wRefunds
	wVoids
	wDiscounts
	wFloat
	wIn
	wOut
	wDropped
	wOpened
	wDeclared
	wExpected
	wCounted
	wDifference
	wLinesReturned
	wLinesVoided
	wBasketsVoided
	wBasketsOpen
	wPriceChanges
	wCopies
	wTrainings
	wGrandTotal
	wReason
	wApproved
	wSignature
	wPreview
	wordCount
)

type words [wordCount]string

// languages is small; another one is another row here.
var languages = [...]struct {
	code  string
	words words
}{
	{"en", words{"Receipt", "COPY", "TRAINING - NOT A SALE", "VOID OF", "Till", "Operator", "Shift", "Day", "Customer",
		"Return", "of receipt", "of sale", "line", "instead of", "Discount", "Subtotal", "TOTAL", "Cash rounding",
		"Cash", "Card", "Voucher", "On account", "Change", "paid out", "ref.", "auth.", "offline", "Tax", "Net", "Gross", "Tax no.", "Age checked:",
		"X REPORT", "Z REPORT", "Sales", "Turnover", "Refunds", "Voids", "Discounts", "Float", "CASH IN", "CASH OUT", "TO THE SAFE", "Drawer opened", "CASH COUNT",
		"Should be", "Counted", "Difference", "Lines returned", "Lines voided", "Baskets voided", "Baskets open", "Price changes", "Copies", "Trainings", "Grand total", "Reason", "Approved by", "Signature", "NOT A RECEIPT"}},
	{"de", words{"Bon", "KOPIE", "SCHULUNG - KEIN VERKAUF", "STORNO VON", "Kasse", "Bediener", "Schicht", "Tag", "Kunde",
		"Rückgabe", "von Bon", "von Verkauf", "Zeile", "statt", "Rabatt", "Zwischensumme", "SUMME", "Rundung",
		"Bar", "Karte", "Gutschein", "Auf Rechnung", "Rückgeld", "Auszahlung", "Beleg", "Gen.-Nr.", "offline", "MwSt", "Netto", "Brutto", "USt-IdNr.", "Alter geprüft:",
		"X-BERICHT", "Z-BERICHT", "Verkäufe", "Umsatz", "Erstattungen", "Stornos", "Rabatte", "Anfangsbestand", "EINLAGE", "ENTNAHME", "IN DEN TRESOR", "Lade geöffnet", "ZÄHLUNG",
		"Soll", "Gezählt", "Differenz", "Retouren", "Zeilenstornos", "Körbe storniert", "Körbe offen", "Preisänderungen", "Kopien", "Schulungen", "Gesamtumsatz", "Grund", "Genehmigt von", "Unterschrift", "KEIN BELEG"}},
	{"fr", words{"Ticket", "DUPLICATA", "FORMATION - PAS UNE VENTE", "ANNULATION DE", "Caisse", "Opérateur", "Session", "Jour", "Client",
		"Retour", "du ticket", "de la vente", "ligne", "au lieu de", "Remise", "Sous-total", "TOTAL", "Arrondi",
		"Espèces", "Carte", "Bon d'achat", "En compte", "Rendu", "remboursé", "réf.", "autor.", "hors ligne", "TVA", "HT", "TTC", "N° TVA", "Âge vérifié :",
		"RAPPORT X", "RAPPORT Z", "Ventes", "Chiffre d'affaires", "Remboursements", "Annulations", "Remises", "Fond de caisse", "ENTRÉE", "SORTIE", "AU COFFRE", "Tiroir ouvert", "COMPTAGE",
		"Théorique", "Compté", "Écart", "Lignes retournées", "Lignes annulées", "Paniers annulés", "Paniers en cours", "Prix modifiés", "Duplicatas", "Formations", "Grand total", "Motif", "Approuvé par", "Signature", "SANS VALEUR"}},
	{"es", words{"Ticket", "COPIA", "FORMACIÓN - NO ES VENTA", "ANULACIÓN DE", "Caja", "Operador", "Turno", "Día", "Cliente",
		"Devolución", "del ticket", "de la venta", "línea", "en vez de", "Descuento", "Subtotal", "TOTAL", "Redondeo",
		"Efectivo", "Tarjeta", "Vale", "A cuenta", "Cambio", "pagado", "ref.", "aut.", "sin conexión", "IVA", "Base", "Total", "NIF", "Edad comprobada:",
		"INFORME X", "INFORME Z", "Ventas", "Facturación", "Devoluciones", "Anulaciones", "Descuentos", "Fondo de caja", "ENTRADA", "SALIDA", "A LA CAJA FUERTE", "Cajón abierto", "ARQUEO",
		"Debe haber", "Contado", "Diferencia", "Líneas devueltas", "Líneas anuladas", "Cestas anuladas", "Cestas abiertas", "Precios cambiados", "Copias", "Formaciones", "Total acumulado", "Motivo", "Aprobado por", "Firma", "NO ES UN TICKET"}},
}

// Languages are the codes that Shop.Language may have, the default first.
func Languages() []string {
	codes := make([]string, len(languages))
	for i := range languages {
		codes[i] = languages[i].code
	}
	return codes
}

func wordsOf(code string) (lang string, w *words) {
	for i := range languages {
		if languages[i].code == code {
			return code, &languages[i].words
		}
	}
	return languages[0].code, &languages[0].words
}
