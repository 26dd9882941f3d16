import { homedir } from "node:os"
import { join } from "node:path"
import { EvidenceError } from "@envidence/core"
import { readBoundedFile } from "./bounded-file.js"

/** What a registry knows the user by. Never part of a message. */
export type Credentials =
  | { readonly user: string; readonly password: string }
  /** An OAuth 2 refresh token, as `docker login` keeps for some registries. */
  | { readonly identityToken: string }

export interface FoundCredentials {
  readonly credentials: Credentials | null
  /** A program of that name keeps them: it is not started. */
  readonly helper: string | null
}

type Environment = Readonly<Record<string, string | undefined>>

const FILE_BYTES = 1_000_000

/**
 * The user's own credentials for a repository, from where podman and docker keep them (containers-auth.json(5), Docker's
 * config.json): only what stands in `auths`, since helpers are programs. The most specific entry of the first file that
 * has one counts.
 *
 * @throws EvidenceError usage for a file that is none of credentials, or that was named and is not there
 */
export async function findCredentials(host: string, repository: string, env: Environment): Promise<FoundCredentials> {
  let helper: string | null = null
  for (const { path, isNamed } of credentialFiles(env)) {
    const document = await readFile(path, isNamed)
    const entry = document === undefined ? undefined : entryFor(document.auths, host, repository)
    const credentials = entry === undefined ? null : parseEntry(entry, path)
    if (credentials !== null) return { credentials, helper: null }
    helper ??= helperFor(document, host)
  }
  return { credentials: null, helper }
}

function credentialFiles(env: Environment): { path: string; isNamed: boolean }[] {
  const home = env.HOME || homedir()
  const files = [
    { path: env.REGISTRY_AUTH_FILE, isNamed: true },
    { path: env.XDG_RUNTIME_DIR && join(env.XDG_RUNTIME_DIR, "containers", "auth.json"), isNamed: false },
    { path: join(env.XDG_CONFIG_HOME || join(home, ".config"), "containers", "auth.json"), isNamed: false },
    { path: join(env.DOCKER_CONFIG || join(home, ".docker"), "config.json"), isNamed: false },
  ]
  return files.flatMap(({ path, isNamed }) => (path ? [{ path, isNamed }] : []))
}

type JsonObject = Readonly<Record<string, unknown>>

interface CredentialFile {
  readonly auths: JsonObject
  readonly credHelpers: JsonObject
  readonly credsStore: unknown
}

async function readFile(path: string, isNamed: boolean): Promise<CredentialFile | undefined> {
  let bytes: Uint8Array
  try {
    bytes = await readBoundedFile(path, FILE_BYTES)
  } catch (cause) {
    // What cannot be read is as if it were not there: the registry may ask for nothing.
    if (!isNamed) return undefined
    throw new EvidenceError("usage", `REGISTRY_AUTH_FILE names ${path}, which cannot be read`, { cause })
  }
  try {
    const document = asObject(JSON.parse(Buffer.from(bytes).toString("utf8")))
    const { credsStore } = document
    return { auths: asObject(document.auths ?? {}), credHelpers: asObject(document.credHelpers ?? {}), credsStore }
  } catch {
    // Without its cause: JSON.parse quotes the text that it stumbles over.
    throw notCredentials(path)
  }
}

const notCredentials = (path: string) => new EvidenceError("usage", `${path} is no file of registry credentials`)

function asObject(value: unknown): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject
  throw new TypeError("not an object")
}

function entryFor(auths: JsonObject, host: string, repository: string): unknown {
  const path = repository.split("/")
  const names = path.map((_, i) => `${host}/${path.slice(0, path.length - i).join("/")}`)
  for (const name of [...names, host]) if (Object.hasOwn(auths, name)) return auths[name]
  // Docker writes addresses, and for Docker Hub that of its first version.
  const key = Object.keys(auths).find(address => hostOf(address) === host)
  return key === undefined ? undefined : auths[key]
}

function hostOf(address: string): string {
  const host = address.replace(/^https?:\/\//, "").replace(/\/(v1|v2)?\/?$/, "")
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host
}

function parseEntry(value: unknown, path: string): Credentials | null {
  let entry: JsonObject
  try {
    entry = asObject(value)
  } catch {
    throw notCredentials(path)
  }
  const { identitytoken, auth, username, password } = entry
  if (typeof identitytoken === "string" && identitytoken !== "") return { identityToken: identitytoken }
  if (typeof username === "string" && typeof password === "string") return { user: username, password }
  // Beside a helper, docker leaves an empty entry.
  if (typeof auth !== "string" || auth === "") return null
  const [, user, secret] =
    /^([^:]+):(.*)$/s.exec(Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, "")) ?? []
  if (user === undefined || secret === undefined) throw notCredentials(path)
  return { user, password: secret }
}

function helperFor(document: CredentialFile | undefined, host: string): string | null {
  if (document === undefined) return null
  const helper = document.credHelpers[host] ?? document.credsStore
  return typeof helper === "string" && /^[\w.-]{1,64}$/.test(helper) ? helper : null
}
