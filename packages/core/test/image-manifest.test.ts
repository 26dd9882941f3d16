import { parseImageConfig, parseImageIndex } from "@envidence/core"
import { describe, expect, test } from "vitest"

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
const rootfs = { type: "layers", diff_ids: [] }
const refused = expect.objectContaining({ code: "malformed-image" })

describe("the name of a platform may look like nothing else in a report", () => {
  const names = [
    "amd64) | image from this source: yes",
    "amd 64",
    "",
    "a".repeat(40),
    "amd64\n",
    "\u200bamd64",
    7,
    null,
  ]
  test.each(names)("%j", name => {
    const configs = [
      { os: "linux", architecture: name, rootfs },
      { os: name, architecture: "amd64", rootfs },
    ]
    for (const config of configs) expect(() => parseImageConfig(encode(config))).toThrow(refused)
    const descriptor = { mediaType: "x", digest: `sha256:${"a".repeat(64)}`, size: 1 }
    const index = { schemaVersion: 2, manifests: [{ ...descriptor, platform: { os: "linux", architecture: name } }] }
    expect(() => parseImageIndex(encode(index))).toThrow(refused)
  })
  test("variants of real ones pass", () => {
    expect(parseImageConfig(encode({ os: "linux", architecture: "arm64", variant: "v8", rootfs })).variant).toBe("v8")
  })
})
