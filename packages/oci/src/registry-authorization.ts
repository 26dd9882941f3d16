import { EvidenceError } from "@envidence/core"
import type { Credentials, FoundCredentials } from "./credentials.js"

/** `Bearer` or `Basic` with its parameters, as a registry asks for it (RFC 9110, section 11.6.1). */
interface Challenge {
  readonly scheme: "bearer" | "basic"
  readonly parameters: Readonly<Record<string, string>>
}

/** Sends a request, follows no redirect, and gives a bounded answer within a time. */
export type SendRequest = (url: URL, init: RequestInit) => Promise<{ readonly status: number; readonly body: Buffer }>

export interface AuthorizationOptions {
  readonly repository: string
  /** For messages. */
  readonly host: string
  readonly find: () => Promise<FoundCredentials>
  readonly send: SendRequest
  /** Whether an address may be asked at all. */
  readonly admit: (url: URL) => void
}

/**
 * What to send as `Authorization` to one repository of a registry, learnt from what the registry answers (the
 * distribution project's "Token Authentication Specification"; Basic).
 */
export class RegistryAuthorization {
  readonly #options: AuthorizationOptions
  #header: string | null = null
  #found: FoundCredentials | undefined

  constructor(options: AuthorizationOptions) {
    this.#options = options
  }

  get header(): string | null {
    return this.#header
  }

  /**
   * Obtains what an answer 401 asks for; a token that has expired is asked for again.
   *
   * @throws EvidenceError registry-failed where the registry will not have the user's credentials, or there are none
   */
  async answer(challenges: string): Promise<void> {
    const challenge = parseChallenge(challenges)
    if (challenge === undefined) throw this.refused("asks for a kind of authentication that is not known")
    this.#found ??= await this.#options.find()
    const { credentials } = this.#found
    if (challenge.scheme === "bearer") {
      this.#header = `Bearer ${await this.#fetchToken(challenge, credentials)}`
      return
    }
    if (credentials === null || "identityToken" in credentials) throw this.refused("asks for a user and a password")
    this.#header = basic(credentials)
  }

  /** The refusal of this registry, with what the user can do. */
  refused(why: string): EvidenceError {
    const { host } = this.#options
    const helper = this.#found?.helper
    const hint =
      this.#found?.credentials != null
        ? `The credentials that were found for ${host} are not accepted, or not for this repository: log in again.`
        : helper != null
          ? `The credentials for ${host} are kept by the helper ${helper}, which is not started: name a file that holds them by REGISTRY_AUTH_FILE.`
          : `Log in with podman login ${host} or docker login ${host}, or name a file of credentials by REGISTRY_AUTH_FILE.`
    return new EvidenceError("registry-failed", `${host} ${why}`, { hint })
  }

  async #fetchToken({ parameters }: Challenge, credentials: Credentials | null): Promise<string> {
    const { send, admit, host } = this.#options
    const realm = parameters.realm ?? ""
    if (!URL.canParse(realm)) throw this.refused("names no address of its token server")
    const url = new URL(realm)
    // The user's password goes there: no worse a way than to the registry itself.
    admit(url)
    const { status, body } = await send(...this.#tokenRequest(url, parameters, credentials))
    if (status === 401 || status === 403) throw this.refused(`refuses to give a token (${status})`)
    if (status !== 200) throw new EvidenceError("registry-failed", `the token server of ${host} answers ${status}`)
    return parseToken(body, host)
  }

  #tokenRequest(url: URL, { service }: Challenge["parameters"], credentials: Credentials | null): [URL, RequestInit] {
    const scope = `repository:${this.#options.repository}:pull`
    const fields = { scope, ...(service === undefined ? {} : { service }) }
    if (credentials !== null && "identityToken" in credentials) {
      const grant = { grant_type: "refresh_token", client_id: "envidence", refresh_token: credentials.identityToken }
      return [url, { method: "POST", body: new URLSearchParams({ ...grant, ...fields }) }]
    }
    const address = new URL(url)
    for (const [name, value] of Object.entries(fields)) address.searchParams.set(name, value)
    return [address, credentials === null ? {} : { headers: { authorization: basic(credentials) } }]
  }
}

const basic = ({ user, password }: { user: string; password: string }) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`

const CHALLENGE = /(?:^|[\s,])(bearer|basic)\s+((?:[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",]+)\s*,?\s*)+)/gi
const PARAMETER = /([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g
const CHALLENGE_CHARACTERS = 4096

function parseChallenge(text: string): Challenge | undefined {
  const found = [...text.slice(0, CHALLENGE_CHARACTERS).matchAll(CHALLENGE)].map(([, scheme = "", rest = ""]) => ({
    scheme: scheme.toLowerCase() as Challenge["scheme"],
    parameters: Object.fromEntries(
      [...rest.matchAll(PARAMETER)].map(([, name = "", quoted, bare]) => [
        name.toLowerCase(),
        quoted === undefined ? (bare ?? "") : quoted.replace(/\\(.)/g, "$1"),
      ]),
    ),
  }))
  return found.find(({ scheme }) => scheme === "bearer") ?? found[0]
}

function parseToken(bytes: Uint8Array, host: string): string {
  let token: unknown
  try {
    const document = JSON.parse(Buffer.from(bytes).toString("utf8")) as { token?: unknown; access_token?: unknown }
    token = document.token ?? document.access_token
  } catch {
    token = undefined
  }
  // RFC 6750, section 2.1: nothing in it can end the header.
  if (typeof token === "string" && /^[\w.~+/=-]{1,16384}$/.test(token)) return token
  throw new EvidenceError("registry-failed", `the token server of ${host} gives no token`)
}
