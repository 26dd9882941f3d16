import { createPrivateKey, createPublicKey, sign } from "node:crypto"
import { readFile } from "node:fs/promises"
import type { EvidenceError } from "@envidence/core"
import {
  keyAuthenticator,
  keylessSigner,
  keySigner,
  publicKeyFingerprint,
  readSigningConfig,
  readTrustedRoot,
  sigstoreAuthenticator,
} from "@envidence/trust"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type SigstoreLab, startSigstore } from "../../../test/sigstore/start.ts"
import { altered, flipped, type LooseJson, parse, refusal, statement } from "./attestations.ts"
import { newKeyPair } from "./keys.ts"

let lab: SigstoreLab
beforeAll(async () => {
  lab = await startSigstore()
})
afterAll(() => lab?.stop())

test.for(["P-256", "P-384", "Ed25519"] as const)("%s signs and verifies, without a time", async type => {
  const { privateKeyPem, publicKeyPem } = newKeyPair(type)
  const attestation = await keySigner({ privateKeyPem })(statement)
  const envelope = await keyAuthenticator({ publicKeyPem })(attestation)
  expect(Buffer.from(envelope.payload)).toEqual(statement)
  expect(envelope).toMatchObject({
    payloadType: "application/vnd.in-toto+json",
    signedAt: null,
    signer: { kind: "key", identity: `sha256:${publicKeyFingerprint(publicKeyPem)}`, issuer: null, claims: {} },
  })
  expect(parse(attestation).mediaType).toBe("application/vnd.dev.sigstore.bundle.v0.3+json")
})

test("RSA verifies", async () => {
  const { privateKeyPem, publicKeyPem } = newKeyPair("RSA")
  const hint = Buffer.from(publicKeyFingerprint(publicKeyPem), "hex").toString("base64")
  const type = "application/vnd.in-toto+json"
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${statement.length} `), statement])
  const attestation = altered(await keySigner({ privateKeyPem: newKeyPair().privateKeyPem })(statement), bundle => {
    bundle.verificationMaterial.publicKey.hint = hint
    bundle.dsseEnvelope.signatures[0].sig = sign("sha256", signed, privateKeyPem).toString("base64")
  })
  expect(Buffer.from((await keyAuthenticator({ publicKeyPem })(attestation)).payload)).toEqual(statement)
})

test("an encrypted key opens with its passphrase", async () => {
  const { privateKeyPem, publicKeyPem } = newKeyPair()
  const locked = createPrivateKey(privateKeyPem)
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "open" })
    .toString()
  await keyAuthenticator({ publicKeyPem })(await keySigner({ privateKeyPem: locked, passphrase: "open" })(statement))
  expect(() => keySigner({ privateKeyPem: locked })).toThrow("it is encrypted")
  expect(() => keySigner({ privateKeyPem: locked, passphrase: "wrong" })).toThrow("the passphrase does not open it")
})

describe("a key that cannot be used is a usage error", () => {
  const { privateKeyPem, publicKeyPem } = newKeyPair()
  const sec1 = createPrivateKey(privateKeyPem).export({ type: "sec1", format: "pem" }).toString()
  const cases: Record<string, () => unknown> = {
    "SEC 1": () => keySigner({ privateKeyPem: sec1 }),
    "RSA for signing": () => keySigner({ privateKeyPem: newKeyPair("RSA").privateKeyPem }),
    "P-521": () => keySigner({ privateKeyPem: newKeyPair("P-521").privateKeyPem }),
    "a public key for signing": () => keySigner({ privateKeyPem: publicKeyPem }),
    "noise for signing": () =>
      keySigner({ privateKeyPem: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" }),
    "a private key for verifying": () => keyAuthenticator({ publicKeyPem: privateKeyPem }),
    "P-521 for verifying": () => keyAuthenticator({ publicKeyPem: newKeyPair("P-521").publicKeyPem }),
    "noise for verifying": () =>
      keyAuthenticator({ publicKeyPem: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" }),
  }
  test.for(Object.entries(cases))("%s", ([, use]) => {
    expect(use).toThrow(expect.objectContaining({ code: "usage" }))
  })
})

describe("a key's signature is refused", () => {
  const pair = newKeyPair()
  const authenticate = keyAuthenticator({ publicKeyPem: pair.publicKeyPem })
  const cases: [name: string, code: EvidenceError["code"], change: (bundle: LooseJson) => void][] = [
    ["altered payload", "bad-signature", b => (b.dsseEnvelope.payload = flipped(b.dsseEnvelope.payload))],
    ["altered payload type", "bad-signature", b => (b.dsseEnvelope.payloadType = "text/plain")],
    [
      "altered signature",
      "bad-signature",
      b => (b.dsseEnvelope.signatures[0].sig = flipped(b.dsseEnvelope.signatures[0].sig)),
    ],
    ["two signatures", "malformed-attestation", b => b.dsseEnvelope.signatures.push(b.dsseEnvelope.signatures[0])],
    [
      "another key's hint",
      "untrusted-key",
      b => (b.verificationMaterial.publicKey.hint = flipped(b.verificationMaterial.publicKey.hint)),
    ],
    ["no hint", "untrusted-key", b => (b.verificationMaterial.publicKey = {})],
    [
      "a hint that is no fingerprint",
      "untrusted-key",
      b => (b.verificationMaterial.publicKey.hint = "my key\u001b[31m"),
    ],
  ]
  test.for(cases)("%s: %s", async ([, code, change]) => {
    const attestation = altered(await keySigner(pair)(statement), change)
    const error = await refusal(authenticate, attestation)
    expect(error.code).toBe(code)
    expect(error.message).not.toMatch(/\p{Cc}/u)
  })

  test("by another key that claims the pinned one's hint: bad-signature", async () => {
    const hint = parse(await keySigner(pair)(statement)).verificationMaterial.publicKey.hint
    const forged = altered(
      await keySigner(newKeyPair())(statement),
      b => (b.verificationMaterial.publicKey.hint = hint),
    )
    expect((await refusal(authenticate, forged)).code).toBe("bad-signature")
  })

  test("by another key: untrusted-key", async () => {
    expect(await refusal(authenticate, await keySigner(newKeyPair())(statement))).toMatchObject({
      code: "untrusted-key",
      exitCode: 5,
      message: expect.stringMatching(/^expected key sha256:[0-9a-f]{64}, found a signature that names key sha256:/),
    })
  })
})

test("a policy accepts a key by its fingerprint, once its PEM is given", async () => {
  const pair = newKeyPair()
  const attestation = await keySigner(pair)(statement)
  const trustedRoot = readTrustedRoot(await readFile(lab.trustedRootFile))
  const signers = { accepted: [{ keySha256: publicKeyFingerprint(pair.publicKeyPem) }] }
  const publicKeys = [pair.publicKeyPem]
  expect((await sigstoreAuthenticator({ trustedRoot, signers, publicKeys })(attestation)).signer.kind).toBe("key")
  expect((await refusal(sigstoreAuthenticator({ trustedRoot, signers }), attestation)).code).toBe("untrusted-key")
  const others = { accepted: [{ keySha256: "00".repeat(32) }] }
  const error = await refusal(sigstoreAuthenticator({ trustedRoot, signers: others, publicKeys }), attestation)
  expect(error).toMatchObject({ code: "untrusted-key", signer: { kind: "key" } })
})

test("a certificate's signature does not pass where a key is wanted", async () => {
  const attestation = await signKeyless()
  const error = await refusal(keyAuthenticator(newKeyPair()), attestation)
  expect(error.code).toBe("untrusted-signer")
  const trustedRoot = readTrustedRoot(await readFile(lab.trustedRootFile))
  expect((await refusal(keyAuthenticator({ ...newKeyPair(), trustedRoot }), attestation)).code).toBe("untrusted-signer")
})

test("a timestamp beside a key's signature is verified where a root is given, else ignored", async () => {
  const pair = newKeyPair("P-384")
  const stamped = await timestamped(await keySigner(pair)(statement))
  const foreignStamps = parse(await timestamped(await keySigner(pair)(statement))).verificationMaterial
    .timestampVerificationData
  const foreign = altered(stamped, bundle => {
    bundle.verificationMaterial.timestampVerificationData = foreignStamps
  })
  const trustedRoot = readTrustedRoot(await readFile(lab.trustedRootFile))
  const withRoot = keyAuthenticator({ ...pair, trustedRoot })
  expect(Math.abs(Date.parse((await withRoot(stamped)).signedAt ?? "") - Date.now())).toBeLessThan(60_000)
  expect((await keyAuthenticator(pair)(stamped)).signedAt).toBeNull()
  expect((await refusal(withRoot, foreign)).code).toBe("bad-timestamp")
})

async function timestamped(attestation: Uint8Array): Promise<Uint8Array> {
  const { TSAWitness } = await import("@sigstore/sign")
  const { bundleFromJSON, bundleToJSON } = await import("@sigstore/bundle")
  const bundle = bundleFromJSON(parse(attestation))
  const { rfc3161Timestamps = [] } = await new TSAWitness({ tsaBaseURL: lab.url }).testify(bundle.content)
  bundle.verificationMaterial.timestampVerificationData = { rfc3161Timestamps }
  return Buffer.from(JSON.stringify(bundleToJSON(bundle)))
}

async function signKeyless(): Promise<Uint8Array> {
  const services = readSigningConfig(await readFile(lab.signingConfigFile))
  const trustedRoot = readTrustedRoot(await readFile(lab.trustedRootFile))
  return keylessSigner({ identityToken: lab.mintToken({ email: "a@b.invalid" }), services, trustedRoot })(statement)
}

test("the fingerprint is SHA-256 of the SPKI", async () => {
  const { publicKeyPem } = newKeyPair()
  const spki = createPublicKey(publicKeyPem).export({ type: "spki", format: "der" })
  const digest = Buffer.from(await crypto.subtle.digest("SHA-256", spki)).toString("hex")
  expect(publicKeyFingerprint(publicKeyPem)).toBe(digest)
})
