import { type Digest, EvidenceError, isDigest } from "@envidence/core"
import type { LayoutSelector } from "./layout.js"

/** An image in a registry (distribution specification 1.1), as fully as it can be known without asking. */
export interface RegistryReference {
  readonly kind: "registry"
  /** Host and perhaps port, as people write it: `docker.io`, not the host that answers for it. */
  readonly host: string
  /** `library/python` */
  readonly repository: string
  /** Null where the digest says which. */
  readonly tag: string | null
  readonly digest: Digest | null
}

/** Where an image is: what IMAGE on a command line means. */
export type ImageReference =
  | { readonly kind: "oci"; readonly directory: string; readonly selector: LayoutSelector | null }
  | { readonly kind: "oci-archive"; readonly file: string; readonly selector: LayoutSelector | null }
  | { readonly kind: "docker-archive"; readonly file: string; readonly name: string | null }
  | { readonly kind: "podman" | "docker"; readonly name: string }
  | RegistryReference

const FORMS =
  "An image is oci:DIR, oci-archive:FILE, docker-archive:FILE, podman:REF, docker:REF, or HOST/NAME:TAG of a registry."

/**
 * Parses IMAGE: `oci:DIR[:REF|@DIGEST]`, `oci-archive:FILE[:REF|@DIGEST]`, `docker-archive:FILE[:REF]`, `podman:REF`,
 * `docker:REF`, or `[HOST[:PORT]/]NAME[:TAG][@DIGEST]` by the grammar of the distribution project's `reference` package.
 * A folder or file whose name has a colon cannot be named, as with skopeo.
 *
 * @throws EvidenceError usage
 */
export function parseImageReference(text: string): ImageReference {
  if (CONTROL.test(text)) throw usage("an image's name with control characters")
  const [, scheme, rest = ""] = /^(oci|oci-archive|docker-archive|podman|docker):(.*)$/s.exec(text) ?? []
  switch (scheme) {
    case "oci": {
      const { path, selector } = parsePath(scheme, rest)
      return { kind: scheme, directory: path, selector }
    }
    case "oci-archive": {
      const { path, selector } = parsePath(scheme, rest)
      return { kind: scheme, file: path, selector }
    }
    case "docker-archive":
      return parseDockerArchive(rest)
    case "podman":
    case "docker":
      return { kind: scheme, name: parseEngineName(scheme, rest) }
    default:
      return parseRegistryReference(text)
  }
}

/** Whether `text` must be an image, and can be no folder: it has a scheme, or a registry's host, a tag or a digest. */
export function namesImage(text: string): boolean {
  if (/^(oci|oci-archive|docker-archive|podman|docker):/.test(text)) return true
  if (/^[./~]/.test(text)) return false
  return splitHost(text)[0] !== undefined || /^[^/]+(\/[^/]+)*[:@][^/]+$/.test(text)
}

/** As it would be written, whole: with the host, and `latest` where nothing was said. */
export function describeReference(reference: ImageReference): string {
  switch (reference.kind) {
    case "oci":
      return `oci:${reference.directory}${describeSelector(reference.selector)}`
    case "oci-archive":
      return `oci-archive:${reference.file}${describeSelector(reference.selector)}`
    case "docker-archive":
      return `docker-archive:${reference.file}${reference.name === null ? "" : `:${reference.name}`}`
    case "registry":
      return `${reference.host}/${reference.repository}${reference.digest === null ? `:${reference.tag}` : `@${reference.digest}`}`
    default:
      return `${reference.kind}:${reference.name}`
  }
}

/** Whether two names, each perhaps without host and tag, are the same image's. */
export function sameRepositoryTag(one: string, other: string): boolean {
  const [a, b] = [one, other].map(name => {
    try {
      return describeReference(parseRegistryReference(name))
    } catch {
      return name
    }
  })
  return a === b
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u001f\u007f]/

const usage = (why: string) => new EvidenceError("usage", why, { hint: FORMS })

const quote = (text: string) => JSON.stringify(text.length <= 128 ? text : `${text.slice(0, 127)}…`)

function describeSelector(selector: LayoutSelector | null): string {
  if (selector === null) return ""
  return "name" in selector ? `:${selector.name}` : `@${selector.digest}`
}

// OCI image specification 1.1, "Pre-Defined Annotation Keys", org.opencontainers.image.ref.name.
const REF_NAME = /^[A-Za-z0-9]+([-._:@+/][A-Za-z0-9]+|--[A-Za-z0-9]+)*$/

function parsePath(scheme: string, rest: string): { path: string; selector: LayoutSelector | null } {
  const [, before = "", digest] = /^([^:]*?)@(sha\d+:.*)$/s.exec(rest) ?? []
  const colon = rest.indexOf(":")
  const path = digest !== undefined ? before : colon < 0 ? rest : rest.slice(0, colon)
  if (path === "") throw usage(`${scheme}: names nothing`)
  if (digest !== undefined) return { path, selector: { digest: parseDigest(digest) } }
  if (colon < 0) return { path, selector: null }
  const name = rest.slice(colon + 1)
  if (!REF_NAME.test(name)) throw usage(`${quote(name)} is no name of an image in ${path}`)
  return { path, selector: { name } }
}

function parseDockerArchive(rest: string): ImageReference {
  const colon = rest.indexOf(":")
  const file = colon < 0 ? rest : rest.slice(0, colon)
  if (file === "") throw usage("docker-archive: names nothing")
  if (colon < 0) return { kind: "docker-archive", file, name: null }
  const name = rest.slice(colon + 1)
  parseRegistryReference(name)
  return { kind: "docker-archive", file, name }
}

// Names, ids and digests; the engine knows what they mean.
function parseEngineName(scheme: string, name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,511}$/.test(name) && !name.includes("..")) return name
  throw usage(`${scheme}:${quote(name)} names no image`)
}

const DOMAIN =
  /^(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?$/
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^\w[\w.-]{0,127}$/
const NAME_CHARACTERS = 255

function parseRegistryReference(text: string): RegistryReference {
  const [beforeDigest = "", ...digests] = text.split("@")
  if (digests.length > 1) throw usage(`${quote(text)} has two digests`)
  const digest = digests[0] === undefined ? null : parseDigest(digests[0])
  const [host, remainder] = splitHost(beforeDigest)
  const [, name = "", tag] = /^([^:]*)(?::(.*))?$/s.exec(remainder) ?? []
  if (host !== undefined && !(DOMAIN.test(host) && URL.canParse(`https://${host}`)))
    throw usage(`${quote(host)} is no registry's host`)
  if (!REPOSITORY.test(name) || remainder.length + (host?.length ?? 0) > NAME_CHARACTERS + 129)
    throw usage(`${quote(text)} names no image`)
  if (tag !== undefined && !TAG.test(tag)) throw usage(`${quote(tag)} in ${quote(text)} is no tag`)
  if (host === undefined && /^[0-9a-f]{64}$/.test(name)) throw usage(`${quote(text)} is an id, which no registry knows`)
  return { kind: "registry", ...normalize(host, name), tag: digest === null ? (tag ?? "latest") : null, digest }
}

// A first component is a host where it could be no namespace of Docker Hub's.
function splitHost(text: string): [host: string | undefined, rest: string] {
  const slash = text.indexOf("/")
  const first = text.slice(0, Math.max(slash, 0))
  const isHost = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase()
  return slash > 0 && isHost ? [first, text.slice(slash + 1)] : [undefined, text]
}

// What is written without host is Docker Hub's, and without namespace its library's.
function normalize(host: string | undefined, name: string): { host: string; repository: string } {
  if (host !== undefined && host !== "docker.io" && host !== "index.docker.io") return { host, repository: name }
  return { host: "docker.io", repository: name.includes("/") ? name : `library/${name}` }
}

function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw usage(`${quote(text)} is not sha256: and 64 lower-case hexadecimal digits`)
}
