/** Where children and measurements write what happened, a line at a time. */
export interface Log {
  write(line: string): void
}

export interface BoundedLogOptions {
  /** UTF-16 units kept in all; what comes later is counted, not kept. */
  readonly limit?: number
  /** Values that must never be written, such as an identity token. */
  readonly secrets?: readonly string[]
  /** Shows each line at once, redacted as well. */
  readonly echo?: (line: string) => void
}

const LINE_LIMIT = 4096

// A build's output is a stranger's and goes into the bundle: what looks like a credential is taken out.
const CREDENTIALS: readonly RegExp[] = [
  /\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?/g,
  /\bgh[pousr]_\w{20,}/g,
  /\bgithub_pat_\w{20,}/g,
  /\bhf_[A-Za-z0-9]{20,}/g,
  /\bsk-[\w-]{20,}/g,
  /\bAKIA[A-Z0-9]{16}\b/g,
  /\bglpat-[\w-]{16,}/g,
  /\bxox[abeoprs]-[\w-]{10,}/g,
  /\bnpm_[A-Za-z0-9]{30,}/g,
  /\bpypi-[\w-]{16,}/g,
  /\bAIza[\w-]{30,}/g,
  /(?<=\/\/)[^\s/@:]{1,256}:\S{1,512}(?=@)/g,
  // A line of a PEM body, whose frame may be elsewhere; 64 hexadecimal digits are a digest.
  /^\s*(?![0-9a-f]+\s*$)[A-Za-z0-9+/]{60,}={0,2}\s*$/g,
  /(?<=\b(?:bearer|basic)\s)[\w+/=.~-]{8,}/gi,
  /(?<=(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)["']?\s?[=:]\s?["']?)[^\s"',;&]{4,}/gi,
]

// biome-ignore lint/suspicious/noControlCharactersInRegex: taking them out is the point
const TERMINAL_CODES = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: taking them out is the point
const CONTROLS = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029\p{Cf}\p{DI}]/gu

// Cut before matching only for time.
const MATCHED_LIMIT = 65_536

/** The line's beginning, without the word that the cut goes through: half a credential does not look like one. */
export function cutLine(line: string, limit: number): string {
  if (line.length <= limit) return line
  const end = Math.max(line.lastIndexOf(" ", limit) + 1, limit - LINE_LIMIT)
  return `${line.slice(0, end)}…`
}

/** One line as it may be shown and kept: no credentials, no terminal codes, bounded. */
export function redactLine(line: string, secrets: readonly string[] = []): string {
  const plain = cutLine(line, MATCHED_LIMIT).replace(TERMINAL_CODES, "").replace(CONTROLS, "").toWellFormed()
  const spared = secrets
    .filter(secret => secret.length >= 4)
    .reduce((text, secret) => text.replaceAll(secret, "[redacted]"), plain)
  const redacted = CREDENTIALS.reduce((text, pattern) => text.replace(pattern, "[redacted]"), spared)
  return redacted.length > LINE_LIMIT ? `${redacted.slice(0, LINE_LIMIT)}…` : redacted
}

const KEY_BEGINS = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----/
const KEY_ENDS = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----/
// The largest usual key has a hundred; a frame that never ends must not hide the rest of a log.
const KEY_LINES = 200

/** Redacts lines in their order, private keys in PEM form among them. */
export class Redactor {
  readonly #secrets: readonly string[]
  #keyLines = 0

  constructor(secrets: readonly string[] = []) {
    this.#secrets = secrets
  }

  redact(line: string): string {
    const plain = redactLine(line, this.#secrets)
    if (this.#keyLines > 0) return this.#insideKey(plain)
    const begin = KEY_BEGINS.exec(plain)
    if (begin === null) return plain
    this.#keyLines = KEY_LINES
    return `${plain.slice(0, begin.index)}${this.#insideKey(plain.slice(begin.index))}`
  }

  #insideKey(plain: string): string {
    const end = KEY_ENDS.exec(plain)
    this.#keyLines = end === null ? this.#keyLines - 1 : 0
    return end === null ? "[redacted]" : `[redacted]${plain.slice(end.index + end[0].length)}`
  }
}

/** A log for one criterion: bounded, redacting, kept for the bundle's logs/. */
export class BoundedLog implements Log {
  readonly #lines: string[] = []
  readonly #limit: number
  readonly #redactor: Redactor
  readonly #echo: BoundedLogOptions["echo"]
  #size = 0
  #dropped = 0

  constructor(options: BoundedLogOptions = {}) {
    this.#redactor = new Redactor(options.secrets)
    this.#echo = options.echo
    this.#limit = options.limit ?? 262_144
  }

  write(line: string): void {
    const text = this.#redactor.redact(line)
    this.#echo?.(text)
    if (this.#size + text.length + 1 > this.#limit) this.#dropped++
    else this.#keep(text)
  }

  #keep(text: string): void {
    this.#lines.push(text)
    this.#size += text.length + 1
  }

  text(): string {
    const lines = this.#dropped === 0 ? this.#lines : [...this.#lines, `(${this.#dropped} more lines not kept)`]
    return lines.map(line => `${line}\n`).join("")
  }
}
