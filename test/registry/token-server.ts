// A token server of the test's own, by the distribution project's "Token Authentication Specification".
import { createHash, generateKeyPairSync, sign } from "node:crypto"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface TokenServer {
  readonly url: string
  /** The registry's `auth` for it; `jwksFile` holds `jwks`. */
  readonly jwks: object
  /** What was asked, with the user who asked, or null. */
  readonly asked: { readonly scope: string; readonly user: string | null }[]
  /** Tokens that are given from now on end after so many seconds. */
  lifetime: number
  close(): void
}

export const ISSUER = "envidence tests"
export const SERVICE = "registry.test"

/** Gives everyone who names `password` for any user, or nobody where none is named, what they ask for. */
export async function startTokenServer(password: string | null): Promise<TokenServer> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const jwk = publicKey.export({ format: "jwk" })
  const kid = createHash("sha256").update(JSON.stringify(jwk)).digest("hex").slice(0, 16)
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const asked: TokenServer["asked"] = []
  const state = { lifetime: 300 }

  const tokenFor = (scope: string): string => {
    const [type, name, actions = ""] = scope.split(":")
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: ISSUER,
      aud: SERVICE,
      sub: "",
      nbf: now - 5,
      iat: now,
      exp: now + state.lifetime,
      jti: `${Math.random()}`,
      access: [{ type, name, actions: actions.split(",") }],
    }
    const text = `${encode({ typ: "JWT", alg: "ES256", kid })}.${encode(claims)}`
    const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" })
    return `${text}.${signature.toString("base64url")}`
  }

  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? "", "http://localhost")
    const scope = searchParams.get("scope") ?? ""
    const [user, given] = Buffer.from((request.headers.authorization ?? "").replace("Basic ", ""), "base64")
      .toString()
      .split(":")
    asked.push({ scope, user: user || null })
    if (password !== null && given !== password) response.writeHead(401).end()
    else response.end(JSON.stringify({ token: tokenFor(scope) }))
  })
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    jwks: { keys: [{ ...jwk, kid, use: "sig", alg: "ES256" }] },
    asked,
    get lifetime() {
      return state.lifetime
    },
    set lifetime(seconds: number) {
      state.lifetime = seconds
    },
    close: () => server.close(),
  }
}
