import { EvidenceError, type Signer } from "@envidence/core"

/**
 * A keyless signer that is accepted. `identity` and `issuer` are compared exactly; a regular expression must match the
 * whole text.
 */
export type AcceptedIdentity = ({ readonly identity: string } | { readonly identityRegexp: string }) &
  ({ readonly issuer: string } | { readonly issuerRegexp: string })

/** A key that is accepted, by the SHA-256 of its SPKI in hexadecimal. */
export interface AcceptedKey {
  readonly keySha256: string
}

/** Whose signature counts. There is no default: the caller chooses. */
export type SignerPolicy =
  | { readonly accepted: readonly (AcceptedIdentity | AcceptedKey)[] }
  | { readonly anySignerUnsafe: true }

/** The signature holds, but its signer is not one of those accepted. */
export class UntrustedSignerError extends EvidenceError {
  /** Who signed, as verified. */
  readonly signer: Signer

  constructor(signer: Signer, expected: string) {
    super(
      signer.kind === "keyless" ? "untrusted-signer" : "untrusted-key",
      `expected ${expected}, found ${describeSigner(signer)}`,
      { hint: "if this signer is the right one, name it exactly as found" },
    )
    this.signer = signer
  }
}

/** A policy whose texts have been checked. */
export interface SignerRules {
  /** In words, for messages. */
  readonly expected: string
  readonly acceptsIdentities: boolean
  readonly accepts: (signer: Signer) => boolean
  /** By its SHA-256. */
  readonly acceptsKey: (sha256: string) => boolean
}

interface Rule {
  readonly expected: string
  readonly kind: "identity" | "key"
  readonly accepts: (signer: Signer) => boolean
}

/**
 * @throws EvidenceError no-signer-chosen where nobody is accepted, usage where a name is empty or a regular expression
 * does not compile
 */
export function compileSignerPolicy(policy: SignerPolicy): SignerRules {
  if ("anySignerUnsafe" in policy)
    return { expected: "any signer", acceptsIdentities: true, accepts: () => true, acceptsKey: () => false }
  if (policy.accepted.length === 0) throw new EvidenceError("no-signer-chosen", "no accepted signer is named")
  const rules = policy.accepted.map(compileRule)
  return {
    expected: describeRules(rules),
    acceptsIdentities: rules.some(rule => rule.kind === "identity"),
    accepts: signer => rules.some(rule => rule.accepts(signer)),
    acceptsKey: sha256 => policy.accepted.some(rule => "keySha256" in rule && rule.keySha256 === sha256),
  }
}

function compileRule(rule: AcceptedIdentity | AcceptedKey): Rule {
  if ("keySha256" in rule) return compileKey(rule.keySha256)
  const [identity, identityText] =
    "identity" in rule ? exactly(rule.identity, "identity") : matching(rule.identityRegexp, "identity")
  const [issuer, issuerText] = "issuer" in rule ? exactly(rule.issuer, "issuer") : matching(rule.issuerRegexp, "issuer")
  return {
    expected: `${identityText} (issuer ${issuerText})`,
    kind: "identity",
    accepts: signer =>
      signer.kind === "keyless" && signer.issuer !== null && identity(signer.identity) && issuer(signer.issuer),
  }
}

function compileKey(keySha256: string): Rule {
  if (!/^[0-9a-f]{64}$/.test(keySha256)) {
    throw new EvidenceError("usage", "an accepted key is named by 64 lower-case hexadecimal digits")
  }
  const identity = `sha256:${keySha256}`
  return {
    expected: `key ${identity}`,
    kind: "key",
    accepts: signer => signer.kind !== "keyless" && signer.identity === identity,
  }
}

type TextRule = readonly [accepts: (found: string) => boolean, description: string]

// An empty name would accept certificates that name nobody.
function exactly(expected: string, what: string): TextRule {
  if (expected === "") throw new EvidenceError("usage", `the accepted certificate ${what} is empty`)
  return [found => found === expected, expected]
}

function matching(pattern: string, what: string): TextRule {
  if (pattern === "") throw new EvidenceError("usage", `the regular expression for the certificate ${what} is empty`)
  // Alone first: `a)|(?:b` compiles only inside of the anchors, and would escape from them.
  compilePattern(pattern, what)
  const anchored = compilePattern(`^(?:${pattern})$`, what)
  return [found => found !== "" && anchored.test(found), `/${pattern}/`]
}

function compilePattern(pattern: string, what: string): RegExp {
  try {
    return new RegExp(pattern, "u")
  } catch (cause) {
    throw new EvidenceError("usage", `the regular expression for the certificate ${what} is invalid`, { cause })
  }
}

const NAMED_RULES = 3

function describeRules(rules: readonly Rule[]): string {
  const named = rules.slice(0, NAMED_RULES).map(rule => rule.expected)
  if (rules.length > NAMED_RULES) named.push(`${rules.length - NAMED_RULES} more`)
  return named.join(" or ")
}

export function describeSigner(signer: Signer): string {
  return signer.kind === "keyless" ? `${signer.identity} (issuer ${signer.issuer})` : `key ${signer.identity}`
}
