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
  /(?<=\/\/)[^\s/@:]{1,256}:[^\s/@]{1,256}(?=@)/g,
  /(?<=\b(?:bearer|basic)\s)[\w+/=.~-]{8,}/gi,
  /(?<=(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)["']?\s?[=:]\s?["']?)[^\s"',;&]{4,}/gi,
]

// biome-ignore lint/suspicious/noControlCharactersInRegex: taking them out is the point
const TERMINAL_CODES = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: taking them out is the point
const CONTROLS = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** One line as it may be shown and kept: no credentials, no terminal codes, bounded. */
export function redactLine(line: string, secrets: readonly string[] = []): string {
  const clipped = line.length > LINE_LIMIT ? `${line.slice(0, LINE_LIMIT)}…` : line
  const plain = clipped.replace(TERMINAL_CODES, "").replace(CONTROLS, "").toWellFormed()
  const spared = secrets
    .filter(secret => secret.length >= 4)
    .reduce((text, secret) => text.replaceAll(secret, "[redacted]"), plain)
  return CREDENTIALS.reduce((text, pattern) => text.replace(pattern, "[redacted]"), spared)
}

/** A log for one criterion: bounded, redacting, kept for the bundle's logs/. */
export class BoundedLog implements Log {
  readonly #lines: string[] = []
  readonly #limit: number
  readonly #options: BoundedLogOptions
  #size = 0
  #dropped = 0

  constructor(options: BoundedLogOptions = {}) {
    this.#options = options
    this.#limit = options.limit ?? 262_144
  }

  write(line: string): void {
    const text = redactLine(line, this.#options.secrets)
    this.#options.echo?.(text)
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
