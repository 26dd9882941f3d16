import { readFile } from "node:fs/promises"
import type { Authenticator, EvidenceError } from "@envidence/core"
import {
  keylessSigner,
  keySigner,
  readSigningConfig,
  readTrustedRoot,
  type SignerPolicy,
  type SigningServices,
  sigstoreAuthenticator,
  type TrustedRoot,
  UntrustedSignerError,
} from "@envidence/trust"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Defect, type SigstoreLab, startSigstore } from "../../../test/sigstore/start.ts"
import { altered, flipped, type LooseJson, parse, refusal, statement } from "./attestations.ts"
import { newKeyPair } from "./keys.ts"

const alice = { email: "alice@example.com" }
const workflow = { repository: "acme/tiles" }

let lab: SigstoreLab
let other: SigstoreLab
let root: TrustedRoot
let services: SigningServices
let servicesV1: SigningServices
let signed: Uint8Array
let signedAgain: Uint8Array
let signedV1: Uint8Array

const trusting = (signers: SignerPolicy): Authenticator => sigstoreAuthenticator({ trustedRoot: root, signers })
const trustingAlice = (): Authenticator => trusting({ accepted: [lab.signerOf(alice)] })

beforeAll(async () => {
  ;[lab, other] = await Promise.all([startSigstore(), startSigstore()])
  root = readTrustedRoot(await readFile(lab.trustedRootFile))
  services = readSigningConfig(await readFile(lab.signingConfigFile))
  servicesV1 = readSigningConfig(await readFile(lab.signingConfigV1File))
  signed = await sign(services)
  signedAgain = await sign(services)
  signedV1 = await sign(servicesV1)
})

afterAll(() => Promise.all([lab?.stop(), other?.stop()]))

const sign = (where: SigningServices, token = lab.mintToken(alice)): Promise<Uint8Array> =>
  keylessSigner({ identityToken: token, services: where, trustedRoot: root })(statement)

describe("a good signature", () => {
  test("in a Rekor v2 says who, when and what", async () => {
    const envelope = await trustingAlice()(signed)
    expect(Buffer.from(envelope.payload)).toEqual(statement)
    expect(envelope.payloadType).toBe("application/vnd.in-toto+json")
    expect(envelope.signer).toEqual({
      kind: "keyless",
      identity: "alice@example.com",
      issuer: lab.issuer,
      claims: {},
    })
    expect(Math.abs(Date.parse(envelope.signedAt ?? "") - Date.now())).toBeLessThan(60_000)
    expect(parse(signed).verificationMaterial.tlogEntries[0].kindVersion).toEqual({
      kind: "hashedrekord",
      version: "0.0.2",
    })
  })

  test("in a Rekor v1 verifies too, with a timestamp and without", async () => {
    expect(Buffer.from((await trustingAlice()(signedV1)).payload)).toEqual(statement)
    const promised = altered(signedV1, bundle => {
      bundle.verificationMaterial.timestampVerificationData = {}
    })
    const { signedAt } = await trustingAlice()(promised)
    expect(Date.parse(signedAt ?? "") / 1000).toBe(
      Number(parse(signedV1).verificationMaterial.tlogEntries[0].integratedTime),
    )
  })

  test("of a workflow carries the claims of its certificate", async () => {
    const attestation = await sign(services, lab.mintToken(workflow))
    const { signer } = await trusting({ accepted: [lab.signerOf(workflow)] })(attestation)
    expect(signer).toMatchObject({
      identity: "https://github.com/acme/tiles/.github/workflows/evidence.yml@refs/heads/main",
      issuer: "https://token.actions.githubusercontent.com",
      claims: {
        runnerEnvironment: "self-hosted",
        sourceRepositoryURI: "https://github.com/acme/tiles",
        sourceRepositoryRef: "refs/heads/main",
        sourceRepositoryIdentifier: "101",
        buildTrigger: "push",
        runInvocationURI: "https://github.com/acme/tiles/actions/runs/42/attempts/1",
      },
    })
  })

  test("needs the trusted root only once its shape is checked", async () => {
    let asked = 0
    const trustedRoot = async () => {
      asked++
      return root
    }
    const authenticate = sigstoreAuthenticator({ trustedRoot, signers: { anySignerUnsafe: true } })
    await refusal(authenticate, Buffer.from("{}"))
    expect(asked).toBe(0)
    await authenticate(signed)
    expect(asked).toBe(1)
  })
})

describe("another signer is refused as untrusted-signer", () => {
  const issuerOf = () => lab.issuer
  const cases: Record<string, () => SignerPolicy> = {
    "other identity": () => ({ accepted: [{ identity: "bob@example.com", issuer: issuerOf() }] }),
    "other issuer": () => ({ accepted: [{ identity: alice.email, issuer: "https://accounts.google.com" }] }),
    prefix: () => ({ accepted: [{ identity: "alice@example.co", issuer: issuerOf() }] }),
    suffix: () => ({ accepted: [{ identity: "lice@example.com", issuer: issuerOf() }] }),
    longer: () => ({ accepted: [{ identity: "alice@example.com.evil.invalid", issuer: issuerOf() }] }),
    "letter case": () => ({ accepted: [{ identity: "Alice@example.com", issuer: issuerOf() }] }),
    "a dot is a dot": () => ({ accepted: [{ identity: "alice@example.com".replace(".", "x"), issuer: issuerOf() }] }),
    "an exact name is no pattern": () => ({ accepted: [{ identity: ".*", issuer: issuerOf() }] }),
    "pattern of a part": () => ({ accepted: [{ identityRegexp: "alice|bob", issuer: issuerOf() }] }),
    "pattern of a part of the issuer": () => ({ accepted: [{ identity: alice.email, issuerRegexp: "https://oidc" }] }),
    "a key": () => ({ accepted: [{ keySha256: "00".repeat(32) }] }),
  }
  test.for(Object.entries(cases))("%s", async ([, policy]) => {
    expect((await refusal(trusting(policy()), signed)).code).toBe("untrusted-signer")
  })

  test("the message says whom it expected and whom it found", async () => {
    const error = await refusal(
      trusting({ accepted: [{ identity: "bob@example.com", issuer: "https://b.invalid" }] }),
      signed,
    )
    expect(error).toBeInstanceOf(UntrustedSignerError)
    expect((error as UntrustedSignerError).signer.identity).toBe("alice@example.com")
    expect(error.exitCode).toBe(5)
    expect(error.message).toBe(
      `expected bob@example.com (issuer https://b.invalid), found alice@example.com (issuer ${lab.issuer})`,
    )
  })
})

test("a pattern accepts a whole name", async () => {
  const policy = { accepted: [{ identityRegexp: "[a-z]+@example\\.com|nobody", issuerRegexp: "https://.*\\.invalid" }] }
  expect((await trusting(policy)(signed)).signer.identity).toBe("alice@example.com")
})

describe("a broken bundle", () => {
  const entry = (bundle: LooseJson) => bundle.verificationMaterial.tlogEntries[0]
  const stamps = (bundle: LooseJson) => bundle.verificationMaterial.timestampVerificationData.rfc3161Timestamps
  const cases: [name: string, code: EvidenceError["code"], change: (bundle: LooseJson) => void][] = [
    ["no signature", "malformed-attestation", b => b.dsseEnvelope.signatures.pop()],
    ["empty signature", "malformed-attestation", b => (b.dsseEnvelope.signatures[0].sig = "")],
    ["two signatures", "malformed-attestation", b => b.dsseEnvelope.signatures.push(b.dsseEnvelope.signatures[0])],
    [
      "media type v0.2",
      "malformed-attestation",
      b => (b.mediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2"),
    ],
    ["media type with a suffix", "malformed-attestation", b => (b.mediaType += ";x=1")],
    ["unknown member", "malformed-attestation", b => (b.verificationMaterial.extra = 1)],
    ["member in snake case", "malformed-attestation", b => (b.dsseEnvelope.payload_type = "x")],
    ["a message signature beside the envelope", "malformed-attestation", b => (b.messageSignature = {})],
    ["certificate and key", "malformed-attestation", b => (b.verificationMaterial.publicKey = { hint: "x" })],
    ["neither certificate nor key", "malformed-attestation", b => delete b.verificationMaterial.certificate],
    ["a certificate chain", "malformed-attestation", b => (b.verificationMaterial.x509CertificateChain = {})],
    ["base64 with spare bits", "malformed-attestation", b => (b.dsseEnvelope.signatures[0].sig = "QR==")],
    ["base64 of URLs", "malformed-attestation", b => (b.dsseEnvelope.payload = "_-8=")],
    ["nine log entries", "malformed-attestation", b => (b.verificationMaterial.tlogEntries = Array(9).fill(entry(b)))],
    [
      "nine timestamps",
      "malformed-attestation",
      b => (b.verificationMaterial.timestampVerificationData.rfc3161Timestamps = Array(9).fill(stamps(b)[0])),
    ],
    ["log entry without proof", "malformed-attestation", b => delete entry(b).inclusionProof],
    ["negative index", "malformed-attestation", b => (entry(b).logIndex = "-1")],
    ["altered payload", "bad-signature", b => (b.dsseEnvelope.payload = flipped(b.dsseEnvelope.payload))],
    ["altered payload type", "bad-signature", b => (b.dsseEnvelope.payloadType = "text/plain")],
    [
      "altered signature",
      "bad-signature",
      b => (b.dsseEnvelope.signatures[0].sig = flipped(b.dsseEnvelope.signatures[0].sig)),
    ],
    ["no log entry", "bad-log-entry", b => (b.verificationMaterial.tlogEntries = [])],
    ["the same log entry twice", "bad-log-entry", b => b.verificationMaterial.tlogEntries.push(entry(b))],
    ["altered outer index", "bad-log-entry", b => (entry(b).logIndex = "12345")],
    ["altered index in the proof", "bad-log-entry", b => (entry(b).inclusionProof.logIndex = "0")],
    [
      "altered root hash",
      "bad-log-entry",
      b => {
        entry(b).inclusionProof.rootHash = flipped(entry(b).inclusionProof.rootHash)
      },
    ],
    [
      "altered tree size",
      "bad-log-entry",
      b => {
        entry(b).inclusionProof.treeSize = "12345"
      },
    ],
    [
      "checkpoint with another line",
      "malformed-attestation",
      b => {
        entry(b).inclusionProof.checkpoint.envelope += "x"
      },
    ],
    [
      "altered checkpoint size",
      "bad-log-entry",
      b =>
        (entry(b).inclusionProof.checkpoint.envelope = entry(b).inclusionProof.checkpoint.envelope.replace(
          /\n\d+\n/,
          "\n9999\n",
        )),
    ],
    [
      "checkpoint of another name",
      "bad-log-entry",
      b =>
        (entry(b).inclusionProof.checkpoint.envelope = entry(b).inclusionProof.checkpoint.envelope.replace(
          "— 127.0.0.1",
          "— rekor.evil",
        )),
    ],
    ["altered entry", "bad-log-entry", b => (entry(b).canonicalizedBody = flipped(entry(b).canonicalizedBody))],
    ["other log's name", "bad-log-entry", b => (entry(b).logId.keyId = flipped(entry(b).logId.keyId))],
    ["no timestamp", "no-trusted-time", b => (b.verificationMaterial.timestampVerificationData = {})],
    [
      "a time that this log does not give",
      "malformed-attestation",
      b => (entry(b).integratedTime = `${Math.floor(Date.now() / 1000)}`),
    ],
    ["a key's name beside a certificate", "malformed-attestation", b => (b.dsseEnvelope.signatures[0].keyid = "x")],
    [
      "a promise that is gone, and no timestamp",
      "no-trusted-time",
      b => {
        b.verificationMaterial = parse(signedV1).verificationMaterial
        b.dsseEnvelope = parse(signedV1).dsseEnvelope
        b.verificationMaterial.timestampVerificationData = {}
        delete entry(b).inclusionPromise
      },
    ],
    [
      "altered timestamp",
      "bad-timestamp",
      b =>
        (stamps(b)[0].signedTimestamp = flipped(
          stamps(b)[0].signedTimestamp,
          Buffer.from(stamps(b)[0].signedTimestamp, "base64").length - 3,
        )),
    ],
    ["a timestamp of noise", "bad-timestamp", b => (stamps(b)[0].signedTimestamp = "AAAA")],
    ["a certificate of noise", "bad-certificate", b => (b.verificationMaterial.certificate.rawBytes = "AAAA")],
    [
      "altered certificate signature",
      "bad-certificate",
      b =>
        (b.verificationMaterial.certificate.rawBytes = flipped(
          b.verificationMaterial.certificate.rawBytes,
          Buffer.from(b.verificationMaterial.certificate.rawBytes, "base64").length - 1,
        )),
    ],
    [
      "other name of the certificate's algorithm",
      "bad-certificate",
      b => {
        const der = Buffer.from(b.verificationMaterial.certificate.rawBytes, "base64")
        const oid = Buffer.from("2a8648ce3d040302", "hex")
        der.writeUInt8(3, der.lastIndexOf(oid) + oid.length - 1)
        b.verificationMaterial.certificate.rawBytes = der.toString("base64")
      },
    ],
    [
      "another's log entry",
      "bad-log-entry",
      b => (b.verificationMaterial.tlogEntries = parse(signedAgain).verificationMaterial.tlogEntries),
    ],
    [
      "another's timestamp",
      "bad-timestamp",
      b =>
        (b.verificationMaterial.timestampVerificationData =
          parse(signedAgain).verificationMaterial.timestampVerificationData),
    ],
    [
      "another's certificate",
      "bad-signature",
      b => (b.verificationMaterial.certificate = parse(signedAgain).verificationMaterial.certificate),
    ],
    [
      "another's signature",
      "bad-signature",
      b => (b.dsseEnvelope.signatures = parse(signedAgain).dsseEnvelope.signatures),
    ],
  ]
  test.for(cases)("%s: %s", async ([, code, change]) => {
    const error = await refusal(trusting({ anySignerUnsafe: true }), altered(signed, change))
    expect([error.code, error.message]).toEqual([code, expect.any(String)])
    expect(error.message).not.toContain("\n")
  })

  test("of a Rekor v1: an altered index or time, which its promise signs", async () => {
    for (const member of ["logIndex", "integratedTime"]) {
      const bundle = altered(signedV1, b => (entry(b)[member] = `${Number(entry(b)[member]) + 1}`))
      expect((await refusal(trustingAlice(), bundle)).code).toBe("bad-log-entry")
    }
  })

  test("with a duplicate key, which parsers read differently", async () => {
    const text = Buffer.from(signed)
      .toString()
      .replace('"dsseEnvelope":{', '"dsseEnvelope":{"payloadType":"text/plain",')
    expect((await refusal(trustingAlice(), Buffer.from(text))).code).toBe("malformed-json")
  })

  test("of another Sigstore", async () => {
    const elsewhere = {
      fulcioUrl: other.url,
      rekor: [{ url: other.url, majorApiVersion: 2 as const }],
      timestampUrls: [other.url],
    }
    const otherRoot = readTrustedRoot(await readFile(other.trustedRootFile))
    const foreign = await keylessSigner({
      identityToken: other.mintToken(alice),
      services: elsewhere,
      trustedRoot: otherRoot,
    })(statement)
    const error = await refusal(trustingAlice(), foreign)
    expect(error.code).toBe("untrusted-authority")
    expect(error.message).toContain(root.sha256)
  })

  const defects: [Defect, EvidenceError["code"]][] = [
    ["no-eku", "bad-certificate"],
    ["ca", "bad-certificate"],
    ["two-names", "bad-certificate"],
    ["no-sct", "bad-certificate"],
    ["no-issuer", "bad-certificate"],
    ["expired", "bad-certificate"],
  ]
  test.for(defects)("with the certificate defect %s", async ([defect, code]) => {
    // The signer itself refuses to hand out what does not verify: its message is the verifier's.
    const error = await sign(services, lab.mintToken(alice, { defect })).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: "service-failed", message: expect.stringContaining("certificate") })
    const attestation = await signUnchecked(lab.mintToken(alice, { defect }))
    expect((await refusal(trustingAlice(), attestation)).code).toBe(code)
  })
})

/** What the library signs, without our verification afterwards. */
async function signUnchecked(token: string): Promise<Uint8Array> {
  const { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness } = await import("@sigstore/sign")
  const { bundleToJSON } = await import("@sigstore/bundle")
  const bundle = await new DSSEBundleBuilder({
    signer: new FulcioSigner({ fulcioBaseURL: lab.url, identityProvider: { getToken: async () => token } }),
    witnesses: [new RekorWitness({ rekorBaseURL: lab.url }), new TSAWitness({ tsaBaseURL: lab.url })],
  }).create({ data: statement, type: "application/vnd.in-toto+json" })
  return Buffer.from(JSON.stringify(bundleToJSON(bundle)))
}

test("a key's signature does not pass where a certificate is wanted", async () => {
  const attestation = await keySigner({ privateKeyPem: newKeyPair().privateKeyPem })(statement)
  for (const policy of [{ accepted: [lab.signerOf(alice)] }, { anySignerUnsafe: true } as const]) {
    expect((await refusal(trusting(policy), attestation)).code).toBe("untrusted-key")
  }
})

test("no altered byte passes with another payload, and none gives an error of another kind", async () => {
  const authenticate = trusting({ anySignerUnsafe: true })
  const at = fc.nat({ max: signed.length - 1 })
  const byte = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(...'"{}[],:0 \\').map(char => char.charCodeAt(0)),
  )
  await fc.assert(
    fc.asyncProperty(at, byte, async (position, value) => {
      const mutant = Buffer.from(signed)
      mutant.writeUInt8(value, position)
      const outcome = await authenticate(mutant).catch((cause: unknown) => cause)
      if (outcome instanceof Error) expect(outcome).toMatchObject({ name: "EvidenceError" })
      else expect(outcome).toMatchObject({ payload: statement, signer: { identity: "alice@example.com" } })
    }),
    { numRuns: 600 },
  )
}, 60_000)
