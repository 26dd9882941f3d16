import { tryDecodeUtf8 } from "../encoding.js"
import type { ReproducibleBuildObservation } from "../schema/documents.generated.js"
import { baseName } from "./overlay.js"

export type DifferenceCause = ReproducibleBuildObservation["facts"]["differences"][number]["cause"]

/** Why the contents of one file differ; `null` for a content that was too large to be looked at. */
export function causeOfContent(path: string, first: Uint8Array | null, second: Uint8Array | null): DifferenceCause {
  return causeOfBytes(first, second) ?? causeOfPath(path) ?? causeOfText(first, second) ?? "content"
}

/** What a file is that only one build has, or that has another content in each, by where it lies. */
export function causeOfPath(path: string): DifferenceCause | undefined {
  return PLACES.find(([, pattern]) => pattern.test(path))?.[0]
}

// Files that programs write beside what they were asked for; the first that matches counts.
const PLACES: readonly (readonly [DifferenceCause, RegExp])[] = [
  ["ldconfig-cache", /^(?:var\/cache\/ldconfig\/|etc\/ld\.so\.cache$)/],
  [
    "package-lists",
    /^(?:var\/lib\/apt\/|var\/cache\/(?:apt|debconf)\/|var\/lib\/dpkg\/[^/]+-old$|(?:usr\/)?lib\/apk\/db\/|etc\/apk\/|var\/cache\/(?:apk|dnf|yum)\/|var\/lib\/(?:dnf|rpm)\/)/,
  ],
  ["log", /^var\/log\/|(?:^|\/)[^/]+\.log$/],
  ["temporary", /^(?:tmp|var\/tmp|run|var\/run)\//],
  ["machine-id", /^(?:etc\/machine-id|var\/lib\/dbus\/machine-id|var\/lib\/systemd\/random-seed)$/],
  ["tool-history", /(?:^|\/)\.(?:wget-hsts|bash_history|python_history|node_repl_history|lesshst|viminfo)$/],
  ["private-key", /^etc\/ssh\/ssh_host_[^/]*key(?:\.pub)?$/],
  ["pip-record", /\.dist-info\/(?:RECORD|direct_url\.json|INSTALLER|REQUESTED|uv_cache\.json)$/],
  ["cache", /^var\/cache\/|(?:^|\/)\.cache\/|(?:^|\/)\.npm\/|(?:^|\/)__pycache__\/[^/]+\.nb[ic]$/],
]

/** For what is in one build only: whiteouts are marks of the layering, not files. */
export function causeOfPresence(path: string, where: "only-in-first" | "only-in-second"): DifferenceCause {
  if (baseName(path).startsWith(".wh.")) return "whiteout"
  return causeOfPath(path) ?? where
}

function causeOfBytes(first: Uint8Array | null, second: Uint8Array | null): DifferenceCause | undefined {
  if (first === null || second === null || first.length !== second.length) return undefined
  if (isTimedBytecode(first) && isTimedBytecode(second) && differsOnlyIn(first, second, 8, 16)) return "pyc-header"
  if (isGzip(first) && isGzip(second) && differsOnlyIn(first, second, 4, 8)) return "gzip-header"
  return undefined
}

// PEP 552: magic number, ending in CR LF; flags, of which none is set where the source's time and size follow.
const isTimedBytecode = (bytes: Uint8Array) =>
  bytes.length >= 16 && bytes[2] === 0x0d && bytes[3] === 0x0a && bytes.subarray(4, 8).every(byte => byte === 0)

// RFC 1952, 2.3.1: bytes 4 to 7 are the time.
const isGzip = (bytes: Uint8Array) => bytes.length >= 18 && bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8

function differsOnlyIn(first: Uint8Array, second: Uint8Array, from: number, to: number): boolean {
  for (let i = 0; i < first.length; i++) if (first[i] !== second[i] && (i < from || i >= to)) return false
  return true
}

const TEXT_BYTES = 1_048_576

function causeOfText(first: Uint8Array | null, second: Uint8Array | null): DifferenceCause | undefined {
  if (first === null || second === null || Math.max(first.length, second.length) > TEXT_BYTES) return undefined
  const [left, right] = [tryDecodeUtf8(first), tryDecodeUtf8(second)]
  if (left === undefined || right === undefined) return undefined
  if (maskTimes(left) === maskTimes(right)) return "embedded-time"
  return maskRandom(left) === maskRandom(right) ? "random-name" : undefined
}

// Dates and times as programs print them; every quantifier is bounded, since the text is a stranger's.
const TIMES: readonly RegExp[] = [
  /\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?/g,
  /\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?\b/g,
  /\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?\b/g,
]

const maskTimes = (text: string) => TIMES.reduce((masked, time) => masked.replace(time, "(time)"), text)

const maskRandom = (text: string) =>
  maskTimes(text)
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, "(random)")
    .replace(/\b[0-9a-f]{16,128}\b/gi, "(random)")
    .replace(/\btmp[0-9A-Za-z_]{6,12}\b/g, "(random)")
