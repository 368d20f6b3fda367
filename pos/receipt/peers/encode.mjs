// Writes a document of pos/receipt with @point-of-sale/receipt-printer-encoder, using
// that library's own layout, wherever it has one: alignment, tables, rules, codes.
//
// Standard input: [{"columns":42,"codepage":"cp858","blocks":[{"kind":"row","bold":true,"cells":["a","b"]}, …]}, …]
// Standard output: the bytes for the printer of each, ["base64", …].
import ReceiptPrinterEncoder from '@point-of-sale/receipt-printer-encoder';
import {readFileSync} from 'node:fs';

const write = ({columns, codepage, blocks}) => {
  const encoder = new ReceiptPrinterEncoder({
    language: 'esc-pos', columns, codepageMapping: 'epson', newline: '\n', feedBeforeCut: 0, feedAfterBlock: false,
  });
  encoder.initialize().codepage(codepage);

  const indent = (text) => text.length - text.trimStart().length;

  // size sets the style of what follows. A row that does not fit in double size is
  // bold in normal size: the library leaves that decision to its caller.
  const style = (bold, double, write) => {
    if (bold) encoder.bold(true);
    if (double) encoder.size(2, 2);
    write(double ? Math.floor(columns / 2) : columns);
    if (bold) encoder.bold(false);
    if (double) encoder.size(1, 1);
  };

  const row = (cells, widths, bold, double) => style(bold, double, () => {
    // Blanks at the ends of a cell are places for something in other rows. The library
    // drops them; as margins it keeps them.
    const layout = cells.map((cell, i) => {
      const before = cell.length - cell.trimStart().length;
      const after = i && cell.trimEnd() ? cell.length - cell.trimEnd().length : 0;
      return {
        width: widths[i] - before - after, align: i ? 'right' : 'left', verticalAlign: 'bottom',
        marginLeft: before + (i ? 1 : 0), marginRight: after,
      };
    });
    encoder.table(layout, [cells.map((cell) => cell.trim())]);
  });

  const rows = (group) => {
    const cells = group[0].cells.length;
    if (cells > 2) {
      const widths = Array.from({length: cells}, (_, i) => Math.max(...group.map((b) => b.cells[i].length)));
      widths[0] += columns - widths.reduce((a, b) => a + b) - (cells - 1);
      group.forEach((b) => row(b.cells, widths, b.bold, false));
      return;
    }
    for (const b of group) {
      const [left, right] = b.cells;
      const fits = left.length + 1 + right.length <= columns / 2;
      const room = b.double && fits ? Math.floor(columns / 2) : columns;
      row(b.cells, [room - right.length - 1, right.length], b.bold || b.double, b.double && fits);
    }
  };

  for (let i = 0; i < blocks.length; i++) {
    const b = blocks[i];
    switch (b.kind) {
      case 'text':
        style(b.bold, b.double, (room) => {
          const pad = indent(b.cells[0]);
          if (b.center) {
            encoder.align('center').line(b.cells[0]).align('left');
          } else {
            encoder.table([{width: room - pad, marginLeft: pad, align: 'left'}], [[b.cells[0].trimStart()]]);
          }
        });
        break;
      case 'row': {
        let n = i + 1;
        while (n < blocks.length && blocks[n].kind === 'row' && blocks[n].cells.length === b.cells.length) n++;
        rows(blocks.slice(i, n));
        i = n - 1;
        break;
      }
      case 'rule':
        encoder.rule();
        break;
      case 'qr':
        encoder.align('center').qrcode(b.data, {model: 2, size: 4, errorlevel: 'm'}).align('left');
        break;
      case 'code128':
        encoder.align('center').barcode(b.data, 'code128', {height: 60, width: 1, text: 'below'}).align('left');
        break;
      case 'ean13':
        encoder.align('center').barcode(b.data, 'ean13', {height: 60, width: 1, text: 'below'}).align('left');
        break;
      case 'drawer':
        encoder.pulse(0, 100, 500);
        break;
      case 'cut':
        encoder.cut('partial');
        break;
    }
  }
  return Buffer.from(encoder.encode()).toString('base64');
};

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(write)));
