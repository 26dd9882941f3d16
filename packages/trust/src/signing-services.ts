import { EvidenceError, parseStrictJson } from "@envidence/core"
import { type Service, type ServiceConfiguration, ServiceSelector, SigningConfig } from "@sigstore/protobuf-specs"

/** Where a keyless signature is made. */
export interface SigningServices {
  readonly fulcioUrl: string
  /** Transparency logs; each gets an entry. */
  readonly rekor: readonly RekorService[]
  /** Timestamp authorities; each gives a time. A Rekor of version 2 gives none, so one is needed then. */
  readonly timestampUrls: readonly string[]
}

export interface RekorService {
  readonly url: string
  readonly majorApiVersion: 1 | 2
}

/** The services that the Sigstore project runs for everybody. */
export const publicGoodServices: SigningServices = {
  fulcioUrl: "https://fulcio.sigstore.dev",
  rekor: [{ url: "https://rekor.sigstore.dev", majorApiVersion: 1 }],
  timestampUrls: [],
}

const CONFIG_BYTES = 1_000_000
const CONFIG_MEDIA_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

/**
 * The public-good services, each replaced by a URL where one is given. As in cosign, a log given by URL is a Rekor of
 * version 1; a Rekor v2 is named by a signing configuration.
 *
 * @throws EvidenceError usage where a URL cannot be used
 */
export function servicesFromUrls(urls: {
  readonly fulcioUrl?: string
  readonly rekorUrl?: string
  readonly timestampServerUrl?: string
}): SigningServices {
  const { fulcioUrl, rekor, timestampUrls } = publicGoodServices
  return {
    fulcioUrl: urls.fulcioUrl === undefined ? fulcioUrl : checkUrl(urls.fulcioUrl),
    rekor: urls.rekorUrl === undefined ? rekor : [{ url: checkUrl(urls.rekorUrl), majorApiVersion: 1 }],
    timestampUrls: urls.timestampServerUrl === undefined ? timestampUrls : [checkUrl(urls.timestampServerUrl)],
  }
}

/**
 * Reads Sigstore's signing_config.json v0.2 and chooses the services that are valid at `now`.
 *
 * @throws EvidenceError usage where it is not one, or names no service that can be used
 */
export function readSigningConfig(bytes: Uint8Array, now = new Date()): SigningServices {
  const config = parseConfig(bytes)
  const [authority] = choose(config.caUrls, 1, now)
  if (authority === undefined) throw unusable("it names no valid Fulcio of API version 1")
  const rekor = select(choose(config.rekorTlogUrls, 2, now), config.rekorTlogConfig, "Rekor")
  const timestamps = select(choose(config.tsaUrls, 1, now), config.tsaConfig, "timestamp authority")
  if (rekor.length === 0) throw unusable("it names no valid Rekor of API version 1 or 2")
  return {
    fulcioUrl: checkUrl(authority.url),
    rekor: rekor.map(({ url, majorApiVersion }) => ({
      url: checkUrl(url),
      majorApiVersion: majorApiVersion === 2 ? 2 : 1,
    })),
    timestampUrls: timestamps.map(service => checkUrl(service.url)),
  }
}

function parseConfig(bytes: Uint8Array): SigningConfig {
  if (bytes.length > CONFIG_BYTES) throw unusable(`it is larger than ${CONFIG_BYTES} bytes`)
  let config: SigningConfig
  try {
    config = SigningConfig.fromJSON(parseStrictJson(bytes, "the signing configuration"))
  } catch (cause) {
    throw unusable(cause instanceof EvidenceError ? cause.message : "it is not a signing_config.json", cause)
  }
  if (config.mediaType !== CONFIG_MEDIA_TYPE) throw unusable(`its media type is not ${CONFIG_MEDIA_TYPE}`)
  return config
}

// The specification's order: the highest API version that we speak, then the newest beginning of validity.
function choose(services: readonly Service[], maxApiVersion: number, now: Date): Service[] {
  const start = (service: Service) => service.validFor?.start?.getTime() ?? 0
  return services
    .filter(service => service.majorApiVersion >= 1 && service.majorApiVersion <= maxApiVersion)
    .filter(service => start(service) <= now.getTime() && (service.validFor?.end ?? now) >= now)
    .toSorted((a, b) => b.majorApiVersion - a.majorApiVersion || start(b) - start(a))
}

// One service an operator, and as many operators as the selector asks for.
function select(services: readonly Service[], config: ServiceConfiguration | undefined, what: string): Service[] {
  const byOperator = new Map<string, Service>()
  for (const service of services) if (!byOperator.has(service.operator)) byOperator.set(service.operator, service)
  const candidates = [...byOperator.values()]
  if (config === undefined || candidates.length === 0) return []
  if (config.selector === ServiceSelector.ALL) return candidates
  if (config.selector === ServiceSelector.ANY) return candidates.slice(0, 1)
  if (config.selector !== ServiceSelector.EXACT) throw unusable(`it has no known selector for the ${what}`)
  if (candidates.length < config.count) throw unusable(`it asks for ${config.count} of a ${what} and names fewer`)
  return candidates.slice(0, config.count)
}

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"])

// An identity token goes there: whoever reads it on the way can sign in its owner's name.
function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const safe = url?.protocol === "https:" || (url?.protocol === "http:" && LOOPBACK.has(url.hostname))
  if (url === undefined || !safe || url.username !== "" || url.password !== "") {
    throw new EvidenceError(
      "usage",
      "a Sigstore service's URL must be https (http on loopback only), without a password",
    )
  }
  return text.replace(/\/+$/, "")
}

const unusable = (why: string, cause?: unknown) =>
  new EvidenceError("usage", `the signing configuration cannot be used: ${why}`, { cause })
