/**
 * Progress of long work: one line on the terminal's standard error, rewritten a few times a second and wiped at the
 * end. Nothing where standard error is no terminal.
 */

const spacingMs = 100;

export class Progress {
  private readonly label: string;
  private readonly shown: boolean;
  private toldAt = 0;

  /** `shown`: false where the output itself shows the progress. */
  constructor(label: string, shown = true) {
    this.label = label;
    this.shown = shown && process.stderr.isTTY === true;
  }

  /** `fraction` is 0 … 1. */
  update(fraction: number): void {
    const now = Date.now();
    if (!this.shown || now - this.toldAt < spacingMs) return;
    this.toldAt = now;
    process.stderr.write(`\r${this.label} ${Math.floor(100 * fraction)} %`);
  }

  done(): void {
    // Carriage return and erase to the end of the line (ECMA-48 §8.3.41).
    if (this.shown && this.toldAt > 0) process.stderr.write('\r\u001b[K');
  }
}
