import { EvidenceError } from "@envidence/core"

/** Where the identity token comes from: given, or asked of the CI system that this runs in. */
export type IdentitySource = { readonly identityToken: string } | { readonly ambient: true }

const AUDIENCE = "sigstore"
const PATIENCE_MS = 30_000

/**
 * The identity token (an OpenID Connect ID token), screened here because Sigstore's library prints a token that it
 * cannot parse.
 *
 * @throws EvidenceError usage where it is no such token or has expired, signing-not-chosen where the surroundings offer none
 */
export async function readIdentityToken(source: IdentitySource): Promise<string> {
  const token = "ambient" in source ? await askSurroundings() : source.identityToken.trim()
  const claims = readClaims(token)
  if (typeof claims.exp === "number" && claims.exp * 1000 < Date.now()) {
    throw unusable(`it expired at ${new Date(claims.exp * 1000).toISOString()}`)
  }
  if (typeof claims.email === "string" && claims.email_verified !== true) throw unusable("its email is not verified")
  if (!claims.email && !claims.sub) throw unusable("it names no subject")
  return token
}

function readClaims(token: string): Record<string, unknown> {
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(token) ?? []
  if (payload === undefined) throw unusable("it is not a signed JSON Web Token")
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString())
    if (typeof claims === "object" && claims !== null) return { ...claims }
  } catch {
    // The parser's own message quotes the token.
  }
  throw unusable("its claims are not a JSON object")
}

async function askSurroundings(): Promise<string> {
  const { CIContextProvider } = await import("@sigstore/sign")
  const token = await within(PATIENCE_MS, new CIContextProvider(AUDIENCE).getToken()).catch(() => undefined)
  if (typeof token === "string" && token !== "") return token.trim()
  throw new EvidenceError("signing-not-chosen", "these surroundings offer no identity token", {
    hint: "give --identity-token or --key, or let the CI job have one (GitHub Actions: permissions id-token: write)",
  })
}

async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${milliseconds} ms`)), milliseconds)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

const JWT = /[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?/g

/** Takes the token, its parts and anything of a token's shape out of a text that others wrote. */
export function redactToken(text: string, token: string): string {
  const parts = [token, ...token.split(".")].filter(part => part.length >= 8)
  return parts.reduce((redacted, part) => redacted.replaceAll(part, "[token]"), text).replace(JWT, redactJwt)
}

// Dotted names of hosts and files have the same shape as tokens; tokens begin with an encoded `{"`.
const redactJwt = (match: string): string => (match.startsWith("ey") ? "[token]" : match)

const unusable = (why: string) =>
  new EvidenceError("usage", `the identity token cannot be used: ${why}`, {
    hint: "get a fresh OpenID Connect ID token with the audience sigstore",
  })
