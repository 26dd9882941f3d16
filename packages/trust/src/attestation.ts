import { EvidenceError, limits, parseStrictJson } from "@envidence/core"
import { type BundleLatest, bundleFromJSON } from "@sigstore/bundle"

export const BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

/** A Sigstore bundle whose shape has been checked; nothing in it is authenticated. */
export interface UntrustedAttestation {
  readonly bundle: BundleLatest
  readonly envelope: { readonly payloadType: string; readonly payload: Uint8Array; readonly signature: Uint8Array }
  readonly key: { readonly certificate: Uint8Array } | { readonly hint: string }
}

// Far above what any signer writes; a stranger's bundle must not buy more work than that.
const WITNESSES = 8
const CERTIFICATE_BYTES = 16_384
const TIMESTAMP_BYTES = 65_536
const SIGNATURE_BYTES = 2_048
const CHECKPOINT_CHARACTERS = 16_384
const LOG_BODY_BYTES = 65_536
const PROOF_HASHES = 64

/**
 * Reads a Sigstore bundle v0.3 that holds a DSSE envelope, and refuses every field that it does not know.
 *
 * @throws EvidenceError limit-exceeded, malformed-json or malformed-attestation
 */
export function readAttestation(bytes: Uint8Array): UntrustedAttestation {
  if (bytes.length > limits.attestationBytes) {
    throw new EvidenceError("limit-exceeded", `${DOCUMENT} is larger than ${limits.attestationBytes} bytes`)
  }
  const value = parseStrictJson(bytes, DOCUMENT, limits.attestationTokens)
  checkBundle(value, "the bundle")
  return toAttestation(value)
}

function toAttestation(value: unknown): UntrustedAttestation {
  let bundle: BundleLatest
  try {
    bundle = bundleFromJSON(value) as BundleLatest
  } catch (cause) {
    throw new EvidenceError("malformed-attestation", `${DOCUMENT} is not a Sigstore bundle v0.3`, { cause })
  }
  const { content, verificationMaterial } = bundle
  const signature = content.$case === "dsseEnvelope" ? content.dsseEnvelope.signatures[0] : undefined
  if (content.$case !== "dsseEnvelope" || signature === undefined) throw malformed("the bundle", "has no DSSE envelope")
  checkUnsigned(bundle, signature.keyid)
  const { payloadType, payload } = content.dsseEnvelope
  const envelope = { payloadType, payload, signature: signature.sig }
  const key = verificationMaterial.content
  if (key.$case === "certificate") return { bundle, envelope, key: { certificate: key.certificate.rawBytes } }
  if (key.$case === "publicKey") return { bundle, envelope, key: { hint: key.publicKey.hint } }
  throw malformed("verificationMaterial", "has neither a certificate nor a public key")
}

const REKOR_V2 = "0.0.2"

/**
 * Fields that no signature covers, where no signer writes any other value: one evidence would have many spellings, and
 * another reader might believe them. Beside a certificate no key is named; beside a public key's hint signers differ in
 * what they name, and it is ignored. A Rekor v2 gives no time. A Rekor v1 does: one that is not promised is ignored,
 * since the format lets the promise be left out.
 */
function checkUnsigned({ verificationMaterial }: BundleLatest, keyid: string): void {
  const { content, tlogEntries } = verificationMaterial
  if (content.$case === "certificate" && keyid !== "") throw malformed("keyid", "names a key beside a certificate")
  const timed = tlogEntries.some(
    entry =>
      entry.kindVersion?.version === REKOR_V2 && entry.inclusionPromise === undefined && entry.integratedTime !== "0",
  )
  if (timed) throw malformed("integratedTime", "is a time that the log does not give")
}

type Check = (value: unknown, where: string) => void

const DOCUMENT = "attestation.sigstore.json"

const malformed = (where: string, why: string) =>
  new EvidenceError("malformed-attestation", `${DOCUMENT}: ${where} ${why}`, {
    hint: "it is damaged, or signed by a tool whose bundles this version does not know",
  })

const quote = (text: string) => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)

/** An object with these members and no other. */
function members(required: Readonly<Record<string, Check>>, optional: Readonly<Record<string, Check>> = {}): Check {
  const known = new Map([...Object.entries(required), ...Object.entries(optional)])
  return (value, where) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(where, "is not an object")
    for (const [name, member] of Object.entries(value)) {
      const check = known.get(name)
      if (check === undefined) throw malformed(where, `has an unknown member ${quote(name)}`)
      check(member, name)
    }
    for (const name of Object.keys(required)) {
      if (!Object.hasOwn(value, name)) throw malformed(where, `has no ${name}`)
    }
  }
}

function list(check: Check, { most, least = 0 }: { most: number; least?: number }): Check {
  const bound = most === least ? `${most}` : `at most ${most}`
  return (value, where) => {
    if (!Array.isArray(value)) throw malformed(where, "is not a list")
    if (value.length > most || value.length < least) throw malformed(where, `has ${value.length} items, not ${bound}`)
    for (const [index, item] of value.entries()) check(item, `${where}[${index}]`)
  }
}

function text(most: number, pattern?: RegExp): Check {
  return (value, where) => {
    if (typeof value !== "string") throw malformed(where, "is not a string")
    if (value.length > most) throw malformed(where, `is longer than ${most} characters`)
    if (pattern?.test(value) === false) throw malformed(where, `has an unexpected value ${quote(value)}`)
  }
}

// JSON parsers disagree about base64 with other alphabets, without padding or with spare bits.
function base64(most: number, least = 1): Check {
  return (value, where) => {
    if (typeof value !== "string") throw malformed(where, "is not a string")
    const bytes = Buffer.from(value, "base64")
    if (bytes.toString("base64") !== value) throw malformed(where, "is not canonical base64")
    if (bytes.length > most || bytes.length < least) throw malformed(where, `has ${bytes.length} bytes`)
  }
}

const integer = text(19, /^(?:0|[1-9][0-9]*)$/)
const kind = text(64, /^[\w.-]+$/)

function mediaType(value: unknown): void {
  if (value === BUNDLE_MEDIA_TYPE) return
  throw malformed("mediaType", `is ${typeof value === "string" ? quote(value) : "no string"}, not ${BUNDLE_MEDIA_TYPE}`)
}

// C2SP signed-note: the text, an empty line, and a line for each signature.
const NOTE_SIGNATURES = /^(?:\u2014 [\w.:/-]+ [A-Za-z0-9+/]+=*\n)+$/

function signedNote(value: unknown, where: string): void {
  text(CHECKPOINT_CHARACTERS)(value, where)
  const note = String(value)
  const end = note.indexOf("\n\n")
  const signatures = note.slice(end + 2)
  if (end < 1 || !NOTE_SIGNATURES.test(signatures)) throw malformed(where, "is not a signed note")
  for (const line of signatures.trimEnd().split("\n")) base64(SIGNATURE_BYTES)(line.split(" ")[2], where)
}

const inclusionProof = members(
  { checkpoint: members({ envelope: signedNote }) },
  { logIndex: integer, treeSize: integer, rootHash: base64(32, 0), hashes: list(base64(32), { most: PROOF_HASHES }) },
)

const tlogEntry = members(
  {
    logId: members({ keyId: base64(64) }),
    kindVersion: members({ kind, version: kind }),
    inclusionProof,
    canonicalizedBody: base64(LOG_BODY_BYTES),
  },
  {
    logIndex: integer,
    integratedTime: integer,
    inclusionPromise: members({ signedEntryTimestamp: base64(SIGNATURE_BYTES) }),
  },
)

// The library would take one of them and leave the other unread.
function certificateOrKey(value: unknown, where: string): void {
  verificationMaterial(value, where)
  const held = ["certificate", "publicKey"].filter(name => Object.hasOwn(value as object, name))
  if (held.length !== 1) throw malformed(where, "must have either a certificate or a public key")
}

const verificationMaterial = members(
  {},
  {
    certificate: members({ rawBytes: base64(CERTIFICATE_BYTES) }),
    publicKey: members({}, { hint: text(256) }),
    tlogEntries: list(tlogEntry, { most: WITNESSES }),
    timestampVerificationData: members(
      {},
      {
        rfc3161Timestamps: list(members({ signedTimestamp: base64(TIMESTAMP_BYTES) }), { most: WITNESSES }),
      },
    ),
  },
)

const checkBundle = members({
  mediaType,
  verificationMaterial: certificateOrKey,
  dsseEnvelope: members({
    payload: base64(limits.attestationBytes),
    payloadType: text(256),
    signatures: list(members({ sig: base64(SIGNATURE_BYTES) }, { keyid: text(256) }), { most: 1, least: 1 }),
  }),
})
