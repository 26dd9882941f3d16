import { createHash } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { pem } from "@sigstore/core"
import { TransparencyLogEntry } from "@sigstore/protobuf-specs"
import type { SignatureBundle, VerificationMaterial, Witness } from "@sigstore/sign"
import { preAuthEncoding } from "./public-key.js"

export interface WitnessOptions {
  readonly timeoutMs: number
  readonly retries: number
}

const RESPONSE_BYTES = 1_000_000
const FIRST_PAUSE_MS = 250

/**
 * Logs a DSSE signature in a Rekor v2, which has no entry type for DSSE: as `hashedrekord` 0.0.2 over SHA-256 of the
 * bytes that were signed (rekor-tiles, CLIENTS.md). The library's own witness still posts the type that was dropped.
 */
export class RekorV2Witness implements Witness {
  readonly #url: string
  readonly #options: WitnessOptions

  constructor(url: string, options: WitnessOptions) {
    this.#url = `${url}/api/v2/log/entries`
    this.#options = options
  }

  async testify(content: SignatureBundle, certificatePem: string): Promise<VerificationMaterial> {
    const body = JSON.stringify({ hashedRekordRequestV002: toRequest(content, certificatePem) })
    const entry = TransparencyLogEntry.fromJSON(JSON.parse(await this.#post(body)))
    const { logId, kindVersion } = entry
    if (logId === undefined || kindVersion === undefined) throw new Error("the answer is not a log entry")
    return { tlogEntries: [{ ...entry, logId, kindVersion }] }
  }

  async #post(body: string): Promise<string> {
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#tryOnce(body).catch((cause: unknown) => ({ again: true, because: reasonOf(cause) }))
      if ("text" in answer) return answer.text
      if (!answer.again || attempt >= this.#options.retries) throw new Error(answer.because)
      await sleep(FIRST_PAUSE_MS * 2 ** attempt)
    }
  }

  async #tryOnce(body: string): Promise<{ text: string } | { again: boolean; because: string }> {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body,
      redirect: "error",
      signal: AbortSignal.timeout(this.#options.timeoutMs),
    })
    const text = await readBounded(response)
    if (response.ok) return { text }
    const again = response.status >= 500 || response.status === 429 || response.status === 408
    return { again, because: `(${response.status}) ${text.slice(0, 300)}` }
  }
}

function toRequest(content: SignatureBundle, certificatePem: string) {
  const envelope = content.$case === "dsseEnvelope" ? content.dsseEnvelope : undefined
  const signature = envelope?.signatures[0]
  if (envelope === undefined || signature === undefined)
    throw new TypeError("a DSSE envelope with a signature is needed")
  const signed = preAuthEncoding(envelope.payloadType, envelope.payload)
  return {
    digest: createHash("sha256").update(signed).digest("base64"),
    signature: {
      content: signature.sig.toString("base64"),
      // The library's ephemeral keys are P-256.
      verifier: {
        x509Certificate: { rawBytes: pem.toDER(certificatePem).toString("base64") },
        keyDetails: "PKIX_ECDSA_P256_SHA_256",
      },
    },
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > RESPONSE_BYTES) throw new Error(`the answer is larger than ${RESPONSE_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  return cause.cause instanceof Error ? cause.cause.message : cause.message
}
