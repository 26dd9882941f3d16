import { createHmac, createPublicKey, timingSafeEqual, verify, webcrypto } from "node:crypto"
import { createRequire } from "node:module"
import type { initializeCTLog } from "@sigstore/mock"
import { AUDIENCE, type Claims, EMAIL_ISSUER, GITHUB_ISSUER, nameOf } from "./claims.ts"

// The mock's own, which it has prepared for itself.
const x509: typeof import("@peculiar/x509") = createRequire(import.meta.resolve("@sigstore/mock"))("@peculiar/x509")

type CtLog = Awaited<ReturnType<typeof initializeCTLog>>

const P256 = { name: "ECDSA", namedCurve: "P-256" }
const ES256 = { name: "ECDSA", hash: "SHA-256" }
const MINUTE_MS = 60_000
const CERTIFICATE_MINUTES = 10
const SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
const FULCIO_ARC = "1.3.6.1.4.1.57264.1."

/** A Fulcio: certificates for those whose token it believes, each logged in a certificate transparency log. */
export class Fulcio {
  readonly #name: string
  readonly #keys: webcrypto.CryptoKeyPair
  readonly #ctLog: CtLog
  readonly #tokenSecret: string
  readonly root: InstanceType<typeof x509.X509Certificate>

  private constructor(
    name: string,
    keys: webcrypto.CryptoKeyPair,
    root: InstanceType<typeof x509.X509Certificate>,
    ctLog: CtLog,
    tokenSecret: string,
  ) {
    this.#name = name
    this.#keys = keys
    this.root = root
    this.#ctLog = ctLog
    this.#tokenSecret = tokenSecret
  }

  static async start(name: string, ctLog: CtLog, tokenSecret: string): Promise<Fulcio> {
    const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"])
    const root = await x509.X509CertificateGenerator.createSelfSigned(
      {
        name,
        serialNumber: "01",
        notBefore: new Date(Date.now() - 60 * MINUTE_MS),
        notAfter: new Date(Date.now() + 24 * 60 * MINUTE_MS),
        signingAlgorithm: ES256,
        keys,
        extensions: [
          new x509.BasicConstraintsExtension(true, 0, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
          await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        ],
      },
      webcrypto,
    )
    return new Fulcio(name, keys, root, ctLog, tokenSecret)
  }

  async create(request: string): Promise<unknown> {
    const { credentials, publicKeyRequest } = JSON.parse(request)
    const claims = this.#readToken(credentials.oidcIdentityToken)
    const key = createPublicKey(publicKeyRequest.publicKey.content)
    const proof = Buffer.from(publicKeyRequest.proofOfPossession, "base64")
    if (!verify("sha256", Buffer.from(claims.email ?? claims.sub), key, proof))
      throw new Error("no proof of possession")
    const leaf = await this.#issue(claims, key.export({ type: "spki", format: "der" }))
    const certificates = [leaf, this.root].map(certificate => certificate.toString("pem"))
    return { signedCertificateEmbeddedSct: { chain: { certificates } } }
  }

  #readToken(token: string): Claims {
    const [header = "", payload = "", signature = ""] = token.split(".")
    const expected = createHmac("sha256", this.#tokenSecret).update(`${header}.${payload}`).digest()
    const found = Buffer.from(signature, "base64url")
    // Like the real one, it may quote what it refuses.
    const refuse = (why: string) => new Error(`There was an error processing the identity token ${token}: ${why}`)
    if (found.length !== expected.length || !timingSafeEqual(found, expected)) throw refuse("bad signature")
    const claims: Claims = JSON.parse(Buffer.from(payload, "base64url").toString())
    if (claims.aud !== AUDIENCE) throw refuse("wrong audience")
    if (claims.exp * 1000 < Date.now()) throw refuse("expired")
    if (claims.iss !== EMAIL_ISSUER && claims.iss !== GITHUB_ISSUER) throw refuse("unknown issuer")
    return claims
  }

  async #issue(claims: Claims, spki: Buffer) {
    const publicKey = await webcrypto.subtle.importKey("spki", spki, P256, true, ["verify"])
    const extensions = await this.#extensions(claims, publicKey)
    const now = Date.now() - (claims.defect === "expired" ? 2 * CERTIFICATE_MINUTES * MINUTE_MS : 0)
    const params = {
      serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)).fill(1, 0, 1)).toString("hex"),
      notBefore: new Date(now),
      notAfter: new Date(now + CERTIFICATE_MINUTES * MINUTE_MS),
      issuer: this.#name,
      publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: ES256,
      extensions,
    }
    const precertificate = await x509.X509CertificateGenerator.create(params, webcrypto)
    if (claims.defect === "no-sct") return precertificate
    const issuerKey = await webcrypto.subtle.exportKey("spki", this.#keys.publicKey)
    const sct = await this.#ctLog.log(precertificate.rawData, await webcrypto.subtle.digest("SHA-256", issuerKey))
    extensions.push(new x509.Extension(SCT_LIST, false, sctList(Buffer.from(sct))))
    return x509.X509CertificateGenerator.create(params, webcrypto)
  }

  async #extensions(claims: Claims, publicKey: webcrypto.CryptoKey) {
    const { defect } = claims
    const usages = x509.KeyUsageFlags.digitalSignature
    const names = [
      nameOf(claims),
      ...(defect === "two-names" ? [{ type: "email" as const, value: "b@c.invalid" }] : []),
    ]
    return [
      new x509.KeyUsagesExtension(usages, true),
      ...(defect === "no-eku" ? [] : [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.codeSigning])]),
      ...(defect === "ca" ? [new x509.BasicConstraintsExtension(true, undefined, true)] : []),
      new x509.SubjectAlternativeNameExtension(names, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
      await x509.AuthorityKeyIdentifierExtension.create(this.#keys.publicKey, false, webcrypto),
      ...fulcioExtensions(claims),
    ]
  }
}

// An OCTET STRING around the list of RFC 6962 section 3.3 with one entry.
function sctList(sct: Buffer): Buffer {
  // What the log gives has its own length in front already.
  const list = Buffer.concat([Buffer.from([sct.length >> 8, sct.length & 0xff]), sct])
  return Buffer.concat([Buffer.from([0x04, ...derLength(list.length)]), list])
}

const derLength = (size: number) =>
  size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]

function utf8String(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([0x0c, ...derLength(bytes.length)]), bytes])
}

// Fulcio's docs/oid-info.md.
function fulcioExtensions(claims: Claims) {
  const github = (path: unknown) => `https://github.com/${String(path)}`
  const workflow = claims.repository !== undefined
  const values: Readonly<Record<string, unknown>> = {
    "8": claims.defect === "no-issuer" ? undefined : claims.iss,
    ...(workflow && {
      "9": github(claims.job_workflow_ref),
      "10": claims.job_workflow_sha,
      "11": claims.runner_environment,
      "12": github(claims.repository),
      "13": claims.sha,
      "14": claims.ref,
      "15": claims.repository_id,
      "16": github(claims.repository_owner),
      "17": claims.repository_owner_id,
      "18": github(claims.workflow_ref),
      "19": claims.workflow_sha,
      "20": claims.event_name,
      "21": github(`${claims.repository}/actions/runs/${claims.run_id}/attempts/${claims.run_attempt}`),
      "22": claims.repository_visibility,
    }),
  }
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([number, value]) => new x509.Extension(`${FULCIO_ARC}${number}`, false, utf8String(String(value))))
}
