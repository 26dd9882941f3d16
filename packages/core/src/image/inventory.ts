import { base64ToBytes, decodeUtf8, encodeUtf8, tryDecodeUtf8 } from "../encoding.js"
import { EvidenceError } from "../errors.js"
import { canonicalJson, parseStrictJson } from "../json.js"
import { limits } from "../limits.js"
import { assertDocument } from "../schema/validate.js"
import type { InventoryEntry } from "./view.js"

const NEWLINE = 0x0a

/**
 * `image/layers/<n>.jsonl`: one entry a line as canonical JSON (RFC 8785), each line ended by a newline, in archive order.
 *
 * @throws EvidenceError limit-exceeded where a reader would refuse the result.
 */
export function serializeInventory(entries: readonly InventoryEntry[]): Uint8Array {
  if (entries.length > limits.inventoryEntries) throw tooMany("the layer")
  const lines: string[] = []
  for (const [index, entry] of entries.entries()) {
    const line = canonicalJson(entry)
    // A character is three bytes at most in UTF-8, so nearly all lines need no exact count.
    if (line.length * 3 > limits.inventoryLineBytes && encodeUtf8(line).length > limits.inventoryLineBytes)
      throw tooLong("the layer", index)
    lines.push(line, "\n")
  }
  return encodeUtf8(lines.join(""))
}

/**
 * Reads back what `serializeInventory` writes, and nothing else. `what` names the file in messages.
 *
 * @throws EvidenceError malformed-json, schema-violation or limit-exceeded
 */
export function parseInventory(bytes: Uint8Array, what: string): InventoryEntry[] {
  const entries: InventoryEntry[] = []
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, start)
    if (end < 0) throw new EvidenceError("malformed-json", `${what}: its last line has no end`)
    if (end - start > limits.inventoryLineBytes) throw tooLong(what, entries.length)
    if (entries.length === limits.inventoryEntries) throw tooMany(what)
    entries.push(parseLine(bytes.subarray(start, end), `${what} line ${entries.length + 1}`))
    start = end + 1
  }
  return entries
}

const tooMany = (what: string) =>
  new EvidenceError("limit-exceeded", `${what} has more than ${limits.inventoryEntries} entries`)

const tooLong = (what: string, index: number) =>
  new EvidenceError("limit-exceeded", `${what} line ${index + 1} is longer than ${limits.inventoryLineBytes} bytes`)

function parseLine(bytes: Uint8Array, what: string): InventoryEntry {
  const entry = assertDocument("InventoryEntryDocument", parseStrictJson(bytes, what), what)
  checkNames(entry, what)
  checkKind(entry, what)
  // One entry has one form, so that equal inventories are equal bytes.
  if (canonicalJson(entry) !== decodeUtf8(bytes, what)) throw violation(what, "is not canonical JSON (RFC 8785)")
  return entry
}

const violation = (what: string, why: string) => new EvidenceError("schema-violation", `${what}: ${why}`)

function checkNames(entry: InventoryEntry, what: string): void {
  if ((entry.path === undefined) === (entry.pathBase64 === undefined))
    throw violation(what, "needs either path or pathBase64")
  if (entry.path === "" || entry.pathBase64 === "") throw violation(what, "has an empty path")
  checkBinary(entry.pathBase64, `${what} pathBase64`)
  checkBinary(entry.linkTargetBase64, `${what} linkTargetBase64`)
  for (const [name, value] of Object.entries(entry.xattrs ?? {})) base64ToBytes(value, `${what} xattr ${name}`)
}

// Two spellings of one name would let a criterion miss it: base64 is for what text cannot say.
function checkBinary(base64: string | undefined, what: string): void {
  if (base64 !== undefined && tryDecodeUtf8(base64ToBytes(base64, what)) !== undefined)
    throw new EvidenceError("schema-violation", `${what} is UTF-8 and must be given as text`)
}

const LINKS = new Set(["symlink", "hardlink"])
const DEVICES = new Set(["char-device", "block-device"])

function checkKind(entry: InventoryEntry, what: string): void {
  const targets = Number(entry.linkTarget !== undefined) + Number(entry.linkTargetBase64 !== undefined)
  if (targets !== (LINKS.has(entry.type) ? 1 : 0))
    throw violation(what, "a link, and nothing else, has one link target")
  if ((entry.device !== undefined) !== DEVICES.has(entry.type))
    throw violation(what, "a device, and nothing else, has device numbers")
  const isFile = entry.type === "file"
  if ((entry.sha256 !== undefined) !== isFile || (entry.content !== undefined) !== isFile)
    throw violation(what, "a file, and nothing else, has sha256 and content")
  if (!isFile && entry.size !== 0) throw violation(what, "only a file has a size")
}

const SURROGATE_ESCAPE = 0xdc00

/**
 * Where an entry lies in the root file system, as a runtime that unpacks it would put it: no leading slash, no `.`,
 * no empty component, `..` held at the root; empty for the root itself. A component that is not UTF-8 is spelt with lone
 * surrogates (U+DC80 to U+DCFF a byte), so that the result identifies it but cannot be written as JSON.
 */
export function pathInRoot(entry: InventoryEntry): string {
  if (entry.path !== undefined) return normalizePath(entry.path)
  return normalizePath(decodeEscaping(base64ToBytes(entry.pathBase64 ?? "", "pathBase64")))
}

/** The same for a link's target, symbolic links not yet followed. */
export function normalizePath(path: string): string {
  if (isPlain(path)) return path
  const components: string[] = []
  for (const component of path.split("/")) {
    if (component === "..") components.pop()
    else if (component !== "" && component !== ".") components.push(component)
  }
  return components.join("/")
}

const isPlain = (path: string) => !/(^|\/)(\.{0,2})(\/|$)/.test(path)

/** UTF-8 to text by components between slashes; bytes of a component that is not UTF-8 become U+DC00 + byte. */
export function decodeEscaping(bytes: Uint8Array): string {
  const whole = tryDecodeUtf8(bytes)
  if (whole !== undefined) return whole
  const components: string[] = []
  for (let start = 0; start <= bytes.length; ) {
    const slash = bytes.indexOf(0x2f, start)
    const end = slash < 0 ? bytes.length : slash
    const component = bytes.subarray(start, end)
    components.push(tryDecodeUtf8(component) ?? escapeBytes(component))
    start = end + 1
  }
  return components.join("/")
}

const escapeBytes = (bytes: Uint8Array) =>
  Array.from(bytes, byte => String.fromCharCode(byte < 0x80 ? byte : SURROGATE_ESCAPE + byte)).join("")
