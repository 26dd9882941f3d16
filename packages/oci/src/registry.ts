import { Readable } from "node:stream"
import { setTimeout as sleep } from "node:timers/promises"
import {
  type Descriptor,
  type Digest,
  EvidenceError,
  indexMediaTypes,
  isDigest,
  limits,
  manifestMediaTypes,
} from "@envidence/core"
import { findCredentials } from "./credentials.js"
import { describeReference, type RegistryReference } from "./image-reference.js"
import {
  assembleImage,
  type BlobSource,
  type ChoiceOptions,
  chooseBehind,
  demandDigest,
  type OpenedImage,
  sha256,
} from "./opened-image.js"
import { RegistryAuthorization } from "./registry-authorization.js"

// A client of our own: those on npm check no digest, resume nothing and let no one say how a request is sent, or stand on
// packages that nobody keeps. The part of the specification that reading needs is two addresses.

export interface RegistryOptions extends ChoiceOptions {
  /** HOME, REGISTRY_AUTH_FILE, DOCKER_CONFIG, XDG_RUNTIME_DIR: where the user's credentials are looked for. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal?: AbortSignal
  /** Node's by default. */
  readonly fetch?: typeof fetch
  readonly timing?: Partial<RegistryTiming>
}

/** Milliseconds unless the name says otherwise. */
export interface RegistryTiming {
  /** Until an answer begins; for a document, until it is there. */
  readonly answer: number
  /** While a blob is waited for, each `window` must bring `windowBytes`. */
  readonly window: number
  readonly windowBytes: number
  /** How often one request, or one blob, is tried again. */
  readonly retries: number
  /** Before the first retry; twice as long before each next. */
  readonly backoff: number
  /** The longest Retry-After that is waited for. */
  readonly longestWait: number
}

export const registryTiming: RegistryTiming = {
  answer: 60_000,
  window: 30_000,
  windowBytes: 30_000,
  retries: 4,
  backoff: 500,
  longestWait: 60_000,
}

/**
 * Opens an image of a registry (distribution specification 1.1, "Pulling manifests", "Pulling blobs"). A tag is resolved
 * to its digest once, here. Layers are streamed when they are read, and resumed where a connection breaks.
 *
 * @throws EvidenceError input-not-found, registry-failed, usage, malformed-image, digest-mismatch, limit-exceeded,
 * interrupted
 */
export async function openRegistryImage(reference: RegistryReference, options: RegistryOptions): Promise<OpenedImage> {
  const registry = new Registry(reference, options)
  const root = await registry.resolve()
  return assembleImage(registry, await chooseBehind(root, registry, options))
}

/** OCI image specification 1.1: registries take manifests up to this size. */
const MANIFEST_BYTES = 4_194_304
const TOKEN_BYTES = 65_536
const ACCEPTED = [...manifestMediaTypes, ...indexMediaTypes].join(", ")
const REDIRECTS = new Set([301, 302, 303, 307, 308])
const MAX_REDIRECTS = 5

/** What may be over when it is tried again. */
class TransientError extends Error {
  readonly waitMs: number | undefined

  constructor(message: string, waitMs?: number, cause?: unknown) {
    super(message, { cause })
    this.waitMs = waitMs
  }
}

interface Answer {
  readonly response: Response
  /** Ends the request, whatever has come of it. */
  abort(): void
}

interface Fetched {
  readonly bytes: Buffer
  readonly mediaType: string
}

class Registry implements BlobSource {
  readonly #reference: RegistryReference
  readonly #fetch: typeof fetch
  readonly #timing: RegistryTiming
  readonly #authorization: RegistryAuthorization
  /** Manifests and indexes by digest: one is needed more than once. */
  readonly #manifests = new Map<Digest, Buffer>()
  readonly #signal: AbortSignal
  #origin: URL

  constructor(reference: RegistryReference, options: RegistryOptions) {
    const { host, repository } = reference
    this.#reference = reference
    this.#fetch = options.fetch ?? fetch
    this.#signal = options.signal ?? new AbortController().signal
    this.#timing = { ...registryTiming, ...options.timing }
    this.#origin = new URL(`https://${host === "docker.io" ? "registry-1.docker.io" : host}`)
    this.#authorization = new RegistryAuthorization({
      repository,
      host,
      find: () => findCredentials(host, repository, options.env),
      send: (url, init) => this.#sendForToken(url, init),
      admit: url => this.#admit(url),
    })
  }

  /** What the tag, or the digest, names now. */
  async resolve(): Promise<Descriptor> {
    if (isLoopback(this.#origin)) await this.#chooseScheme()
    const { tag, digest } = this.#reference
    const { bytes, mediaType } = await this.#fetchManifest(digest ?? tag ?? "latest", MANIFEST_BYTES)
    const found = { mediaType, digest: sha256(bytes), size: bytes.length, annotations: {} }
    if (digest !== null) demandDigest(bytes, { ...found, digest }, this.#name())
    this.#manifests.set(found.digest, bytes)
    return found
  }

  async read(descriptor: Descriptor, what: string): Promise<Buffer> {
    const { mediaType, digest, size } = descriptor
    const isManifest = manifestMediaTypes.includes(mediaType) || indexMediaTypes.includes(mediaType)
    const limit = isManifest ? MANIFEST_BYTES : limits.documentBytes
    if (size > limit) throw malformed(`${what} is larger than ${limit} bytes`)
    const kept = this.#manifests.get(digest)
    if (kept !== undefined) return kept
    const bytes = isManifest ? (await this.#fetchManifest(digest, size)).bytes : await this.#collect(descriptor, what)
    demandDigest(bytes, descriptor, what)
    if (bytes.length !== size) throw malformed(`${what} has ${bytes.length} bytes, its descriptor says ${size}`)
    if (isManifest) this.#manifests.set(digest, bytes)
    return bytes
  }

  async open(descriptor: Descriptor, what: string): Promise<Readable> {
    const closing = new AbortController()
    const signal = AbortSignal.any([this.#signal, closing.signal])
    return readableOf(this.#stream(descriptor, what, signal), closing)
  }

  async check(): Promise<void> {}
  async close(): Promise<void> {}

  #name(): string {
    return describeReference(this.#reference)
  }

  // On this machine itself a registry may speak plain HTTP, as docker and podman allow; nothing secret was sent yet.
  async #chooseScheme(): Promise<void> {
    try {
      const { response } = await this.#send(new URL("/v2/", this.#origin), {}, this.#signal)
      await discard(response)
    } catch (error) {
      if (!(error instanceof TransientError)) throw error
      this.#origin = new URL(`http://${this.#origin.host}`)
    }
  }

  async #fetchManifest(name: string, maxBytes: number): Promise<Fetched> {
    const url = new URL(`/v2/${this.#reference.repository}/manifests/${name}`, this.#origin)
    return this.#retry(`the manifest of ${this.#name()}`, async () => {
      const answer = await this.#ask(url, { accept: ACCEPTED }, this.#signal)
      return this.#inTime(answer, () => this.#readManifest(answer.response, maxBytes))
    })
  }

  async #sendForToken(url: URL, init: RequestInit): Promise<{ status: number; body: Buffer }> {
    const answer = await this.#send(url, init, this.#signal)
    const { response } = answer
    const what = `the answer of the token server of ${this.#reference.host}`
    const body = await this.#inTime(answer, () => readBody(response, TOKEN_BYTES, what))
    return { status: response.status, body }
  }

  /** Reads a document, and ends its request whatever comes of it. */
  async #inTime<T>({ abort }: Answer, read: () => Promise<T>): Promise<T> {
    const timer = setTimeout(abort, this.#timing.answer)
    try {
      return await read()
    } finally {
      clearTimeout(timer)
      abort()
    }
  }

  async #readManifest(response: Response, maxBytes: number): Promise<Fetched> {
    if (response.status === 404) throw new EvidenceError("input-not-found", `there is no image ${this.#name()}`)
    if (REDIRECTS.has(response.status)) throw this.#failed("answers with a redirect, which is followed for layers only")
    this.#demandAnswer(response, 200)
    const bytes = await readBody(response, maxBytes, `the manifest of ${this.#name()}`)
    const stated = response.headers.get("docker-content-digest")
    if (stated !== null && isDigest(stated) && stated !== sha256(bytes))
      throw new EvidenceError(
        "digest-mismatch",
        `the manifest of ${this.#name()} is not the one that its registry says`,
      )
    const mediaType = (response.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? ""
    return { bytes, mediaType: mediaType === "" ? (manifestMediaTypes[0] ?? "") : mediaType }
  }

  async #collect(descriptor: Descriptor, what: string): Promise<Buffer> {
    const chunks: Buffer[] = []
    for await (const chunk of this.#stream(descriptor, what, this.#signal)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** A blob's bytes, from where the last connection broke off. */
  async *#stream({ digest, size }: Descriptor, what: string, signal: AbortSignal): AsyncGenerator<Buffer> {
    let offset = 0
    for (let failures = 0; offset < size; ) {
      try {
        for await (const chunk of this.#streamOnce(digest, offset, size, what, signal)) {
          offset += chunk.length
          if (offset > size) throw mismatch(`${what} (${digest}) is larger than the ${size} bytes of its descriptor`)
          yield chunk
        }
        if (offset < size) throw new TransientError(`it ends after ${offset} of ${size} bytes`)
      } catch (error) {
        failures = await this.#endure(error, failures, `${what} (${digest})`, signal)
      }
    }
  }

  async *#streamOnce(
    digest: Digest,
    offset: number,
    size: number,
    what: string,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const { response, abort } = await this.#askBlob(digest, offset, signal)
    try {
      if (response.status === 404)
        throw malformed(`${this.#reference.host} has no ${what} (${digest}), which the manifest names`)
      this.#demandAnswer(response, offset === 0 ? 200 : 206, 200)
      let skip = skippedBytes(response, offset, size)
      for await (const chunk of this.#watched(response, abort)) {
        const left = chunk.subarray(Math.min(skip, chunk.length))
        skip -= chunk.length - left.length
        if (left.length > 0) yield left
      }
    } finally {
      abort()
    }
  }

  /** The body, which may not come too slowly. Time that the reader takes does not count. */
  async *#watched(response: Response, abort: () => void): AsyncGenerator<Buffer> {
    const { window, windowBytes } = this.#timing
    const reader = response.body?.getReader()
    let waited = 0
    let bytes = 0
    for (;;) {
      const began = performance.now()
      const timer = setTimeout(abort, window - waited)
      const { done, value } = (await reader
        ?.read()
        .catch(cause => {
          throw new TransientError("the connection broke off, or was too slow", undefined, cause)
        })
        .finally(() => clearTimeout(timer))) ?? { done: true, value: undefined }
      if (done || value === undefined) return
      waited += performance.now() - began
      bytes += value.length
      if (bytes >= windowBytes) [waited, bytes] = [0, 0]
      else if (waited >= window) throw new TransientError("it comes too slowly")
      yield Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
  }

  /** A blob may lie elsewhere, where nobody needs to know who asks. */
  async #askBlob(digest: Digest, offset: number, signal: AbortSignal): Promise<Answer> {
    const range: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` }
    let url = new URL(`/v2/${this.#reference.repository}/blobs/${digest}`, this.#origin)
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer =
        url.origin === this.#origin.origin
          ? await this.#ask(url, range, signal)
          : await this.#send(url, { headers: { ...IDENTITY, ...range } }, signal)
      if (!REDIRECTS.has(answer.response.status)) return answer
      const location = answer.response.headers.get("location") ?? ""
      answer.abort()
      if (!URL.canParse(location, url.href)) throw this.#failed("redirects to what is no address")
      url = new URL(location, url)
      this.#admit(url)
    }
    throw this.#failed(`redirects more than ${MAX_REDIRECTS} times`)
  }

  /** Asks the registry itself, with what it wants to know of the user. */
  async #ask(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    for (let attempts = 0; ; attempts++) {
      const { header } = this.#authorization
      const authorization: Record<string, string> = header === null ? {} : { authorization: header }
      const init = { headers: { ...IDENTITY, ...headers, ...authorization } }
      const answer = await this.#send(url, init, signal)
      const { status, headers: answered } = answer.response
      if (status === 403 || (status === 401 && attempts > 0)) {
        answer.abort()
        throw this.#authorization.refused(`knows no ${this.#reference.repository} that you may read (${status})`)
      }
      if (status !== 401) return answer
      answer.abort()
      await this.#authorization.answer(answered.get("www-authenticate") ?? "")
    }
  }

  async #send(url: URL, init: RequestInit, signal: AbortSignal): Promise<Answer> {
    const controller = new AbortController()
    const abort = () => controller.abort()
    const timer = setTimeout(abort, this.#timing.answer)
    try {
      const either = AbortSignal.any([signal, controller.signal])
      return { response: await this.#fetch(url, { ...init, redirect: "manual", signal: either }), abort }
    } catch (cause) {
      demandPatience(signal)
      throw new TransientError(`no answer from ${url.host}: ${reasonOf(cause)}`, undefined, cause)
    } finally {
      clearTimeout(timer)
    }
  }

  #demandAnswer(response: Response, ...wanted: number[]): void {
    const { status, headers } = response
    if (status === 408 || status === 429 || status >= 500)
      throw new TransientError(`it answers ${status}`, retryAfter(headers.get("retry-after")))
    if (!wanted.includes(status)) throw this.#failed(`answers ${status}`)
    const encoding = headers.get("content-encoding") ?? "identity"
    // Digests are of the bytes as they are stored.
    if (encoding !== "identity")
      throw this.#failed(`sends ${JSON.stringify(encoding.slice(0, 32))}, which was not asked for`)
  }

  /** Secrets go to https only, or stay on this machine; and a stranger's registry sends nobody to this machine's own. */
  #admit(url: URL): void {
    const isLocal = isLoopback(this.#origin)
    const isAdmitted = isLoopback(url)
      ? isLocal && (url.protocol === "https:" || url.protocol === "http:")
      : url.protocol === "https:"
    if (isAdmitted && url.username === "" && url.password === "") return
    throw this.#failed(`sends to ${JSON.stringify(url.origin.slice(0, 200))}, which is not followed`)
  }

  async #retry<T>(what: string, action: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; ) {
      try {
        return await action()
      } catch (error) {
        failures = await this.#endure(error, failures, what, this.#signal)
      }
    }
  }

  /** Waits before the next attempt, or gives up. Returns how many have failed. */
  async #endure(error: unknown, failures: number, what: string, signal: AbortSignal): Promise<number> {
    demandPatience(signal)
    if (!(error instanceof TransientError)) throw error
    const { retries, backoff, longestWait } = this.#timing
    const wait = error.waitMs ?? backoff * 2 ** failures
    if (failures >= retries || wait > longestWait)
      throw new EvidenceError("registry-failed", `${this.#reference.host} fails to give ${what}: ${error.message}`, {
        cause: error,
        hint:
          failures >= retries
            ? `It was tried ${failures + 1} times: try later.`
            : `It asks to wait ${Math.ceil(wait / 1000)} s.`,
      })
    await sleep(wait, undefined, { signal }).catch(() => demandPatience(signal))
    return failures + 1
  }

  #failed(why: string): EvidenceError {
    return new EvidenceError("registry-failed", `${this.#reference.host} ${why}`)
  }
}

// A transfer that is compressed once more would not be what the digest is of.
const IDENTITY = { "accept-encoding": "identity", "user-agent": "envidence" }

/** Unlike `Readable.from`, ends at once where it is destroyed: it waits for no chunk that is still to come. */
function readableOf(chunks: AsyncGenerator<Buffer>, closing: AbortController): Readable {
  return new Readable({
    read() {
      chunks.next().then(
        ({ done, value }) => this.push(done ? null : value),
        error => this.destroy(error),
      )
    },
    destroy(error, done) {
      closing.abort()
      done(error)
    },
  })
}

/** @throws EvidenceError interrupted */
function demandPatience(signal: AbortSignal): void {
  if (signal.aborted) throw new EvidenceError("interrupted", "interrupted")
}

const malformed = (why: string) => new EvidenceError("malformed-image", why)
const mismatch = (why: string) => new EvidenceError("digest-mismatch", why)

const isLoopback = ({ hostname }: URL): boolean =>
  /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname)

const discard = async ({ body }: Response): Promise<void> => body?.cancel()

async function readBody({ body }: Response, maxBytes: number, what: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body ?? []) {
      size += chunk.length
      if (size > maxBytes) throw new EvidenceError("limit-exceeded", `${what} is larger than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw cause instanceof EvidenceError ? cause : new TransientError("the connection broke off", undefined, cause)
  }
  return Buffer.concat(chunks)
}

/** How many bytes of the answer are before `offset`. RFC 9110, section 14.2: a range may be ignored. */
function skippedBytes({ status, headers }: Response, offset: number, size: number): number {
  const start = status === 206 ? Number(/^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1]) : 0
  if (Number.isNaN(start) || start > offset) throw new TransientError("it gives another range than was asked for")
  const length = headers.get("content-length")
  // A body that is shorter breaks off, and is resumed; one that says so beforehand is another blob.
  if (status === 200 && length !== null && Number(length) !== size)
    throw mismatch(`the blob has ${Number(length)} bytes, its descriptor says ${size}`)
  return offset - start
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  if (value === null) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}

function reasonOf(cause: unknown): string {
  const { code, name } = ((cause as Error)?.cause ?? cause) as { code?: unknown; name?: unknown }
  return typeof code === "string" ? code : name === "AbortError" ? "it took too long" : "the connection failed"
}
