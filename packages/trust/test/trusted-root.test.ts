import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"
import { readTrustedRoot } from "@envidence/trust"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type SigstoreLab, startSigstore } from "../../../test/sigstore/start.ts"
import { altered, type LooseJson } from "./attestations.ts"

let lab: SigstoreLab
let bytes: Uint8Array
beforeAll(async () => {
  lab = await startSigstore()
  bytes = await readFile(lab.trustedRootFile)
})
afterAll(() => lab?.stop())

test("a trusted root is reported by its digest and the age of its newest key", () => {
  const root = readTrustedRoot(bytes)
  expect(root.sha256).toBe(createHash("sha256").update(bytes).digest("hex"))
  expect(Date.parse(root.newestKeyFrom)).toBeLessThan(Date.now())
})

describe("a trusted root is refused", () => {
  const cases: [name: string, message: string, change: (root: LooseJson) => void][] = [
    ["with a log without a start", "validFor.start", root => delete root.tlogs[0].publicKey.validFor.start],
    ["with a CT log without a start", "validFor.start", root => delete root.ctlogs[0].publicKey.validFor],
    ["with an authority without a start", "validFor.start", root => delete root.certificateAuthorities[0].validFor],
    ["with a TSA without a start", "validFor.start", root => delete root.timestampAuthorities[0].validFor],
    ["of another media type", "media type", root => (root.mediaType = "application/json")],
    ["with a key of noise", "cannot be read", root => (root.tlogs[0].publicKey.rawBytes = "AAAA")],
    [
      "with a certificate of noise",
      "cannot be read",
      root => (root.certificateAuthorities[0].certChain.certificates[0].rawBytes = "AAAA"),
    ],
    [
      "without anything in it",
      "empty",
      root => Object.assign(root, { tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] }),
    ],
  ]
  test.for(cases)("%s", ([, message, change]) => {
    const expected = expect.objectContaining({ code: "usage", message: expect.stringContaining(message) })
    expect(() => readTrustedRoot(altered(bytes, change))).toThrow(expected)
  })

  test.for(["", "[]", "null", '{"a":1,"a":2}'])("of the text %j", text => {
    expect(() => readTrustedRoot(Buffer.from(text))).toThrow(expect.objectContaining({ code: "usage" }))
  })
})
