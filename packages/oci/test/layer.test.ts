import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Readable } from "node:stream"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { decodeTarHeader, EvidenceError, type InventoryEntry, pathInRoot } from "@envidence/core"
import { readLayer } from "@envidence/oci"
import fc from "fast-check"
import { create, Parser, type ReadEntry } from "tar"
import { describe, expect, it } from "vitest"
import { digest, layer, read, readTar, refusal, refusalCode, sha256, storedLayer, temporaryFolder } from "./layers.js"
import { archive, endOfArchive, entry, gnuLongName, header, pax, paxRecord, withChecksum } from "./tar-writer.js"

const hello = entry("hello.txt", { content: "hello\n" })

describe("what an inventory says of an entry", () => {
  it("has type, owner, mode, time and size", async () => {
    const tar = archive(
      entry("d/", { type: "5", mode: 0o1777 }),
      entry("d/file", { content: "abc", mode: 0o104755, uid: 1000, gid: 50, mtime: 1_700_000_000, userName: "me" }),
      entry("d/link", { type: "2", linkName: "../x" }),
      entry("d/hard", { type: "1", linkName: "d/file" }),
      entry("d/char", { type: "3", device: [1, 3] }),
      entry("d/block", { type: "4", device: [8, 0] }),
      entry("d/fifo", { type: "6" }),
    )
    const { entries } = await readTar(tar)
    const plain = { size: 0, mode: 0o644, uid: 0, gid: 0, mtime: 0 }
    expect(entries).toEqual([
      { ...plain, path: "d/", type: "directory", mode: 0o1777 },
      {
        path: "d/file",
        type: "file",
        size: 3,
        mode: 0o4755,
        uid: 1000,
        gid: 50,
        mtime: 1_700_000_000,
        uname: "me",
        sha256: sha256("abc"),
        content: "text",
      },
      { ...plain, path: "d/link", type: "symlink", linkTarget: "../x" },
      { ...plain, path: "d/hard", type: "hardlink", linkTarget: "d/file" },
      { ...plain, path: "d/char", type: "char-device", device: { major: 1, minor: 3 } },
      { ...plain, path: "d/block", type: "block-device", device: { major: 8, minor: 0 } },
      { ...plain, path: "d/fifo", type: "fifo" },
    ])
  })

  it("keeps raw paths: slashes as written, and base64 where they are not UTF-8", async () => {
    const tar = archive(
      entry("./a//b", { content: "1" }),
      entry(Buffer.from([0x61, 0xff, 0x62]), { content: "2" }),
      entry("l", { type: "2", linkName: Buffer.from([0xfe]) }),
    )
    const { entries } = await readTar(tar)
    expect(entries.map(({ path, pathBase64 }) => path ?? pathBase64)).toEqual(["./a//b", "Yf9i", "l"])
    expect(entries[2]?.linkTargetBase64).toBe("/g==")
    expect(entries.map(pathInRoot)).toEqual(["a/b", "a\udcffb", "l"])
  })

  it("joins a ustar prefix, and obeys pax and GNU long names", async () => {
    const long = `${"long/".repeat(60)}name`
    const tar = archive(
      entry("name", { prefix: "deep/er", content: "1" }),
      entry("short", { pax: { path: long }, content: "2" }),
      gnuLongName(`gnu/${long}`),
      entry("short", { magic: "gnu", content: "3" }),
      gnuLongName(`target/${long}`, "K"),
      entry("l", { magic: "gnu", type: "2", linkName: "target" }),
      entry("p", { pax: { linkpath: `pax/${long}` }, type: "2", linkName: "pax" }),
    )
    const { entries } = await readTar(tar)
    expect(entries.map(({ path }) => path)).toEqual(["deep/er/name", long, `gnu/${long}`, "l", "p"])
    expect(entries.slice(3).map(({ linkTarget }) => linkTarget)).toEqual([`target/${long}`, `pax/${long}`])
  })

  it("takes pax size, owners, fractions of a second and raw attribute values", async () => {
    const capability = Buffer.from([1, 0, 0, 2, 0xff, 0x0a, 0x3d, 0])
    const tar = archive(
      entry("f", {
        content: "sized by pax",
        size: 0,
        pax: {
          size: "12",
          uid: "3000000",
          gid: "4000000",
          mtime: "1700000000.25",
          uname: "ü",
          "SCHILY.xattr.security.capability": capability,
          "SCHILY.xattr.user.empty": "",
        },
      }),
    )
    const [file] = (await readTar(tar)).entries
    expect(file).toMatchObject({ size: 12, uid: 3_000_000, gid: 4_000_000, mtime: 1_700_000_000.25, uname: "ü" })
    expect(file?.sha256).toBe(sha256("sized by pax"))
    expect(file?.xattrs).toEqual({ "security.capability": capability.toString("base64"), "user.empty": "" })
  })

  it("reads base-256 numbers, also negative times", async () => {
    const patch = (block: Buffer) => {
      block.fill(0, 108, 116)
      block.writeUInt8(0x80, 108)
      block.writeUInt32BE(3_000_000_000, 112)
      block.fill(0xff, 136, 148)
      block.writeInt32BE(-5, 144)
    }
    const [file] = (await readTar(archive(entry("f", { patch })))).entries
    expect(file).toMatchObject({ uid: 3_000_000_000, mtime: -5 })
  })

  it("accepts a global pax header that says nothing of entries, as git archive writes it", async () => {
    const { entries } = await readTar(archive(pax({ comment: "0".repeat(40) }, "g"), hello))
    expect(entries.map(({ path }) => path)).toEqual(["hello.txt"])
  })

  it("takes a v7 name that ends in a slash for a directory", async () => {
    const { entries } = await readTar(archive(entry("old/", { type: "\0", magic: "v7" })))
    expect(entries[0]?.type).toBe("directory")
  })
})

describe("content kinds", () => {
  const elf = (type: number) => {
    const bytes = Buffer.alloc(64)
    bytes.write("\x7fELF\x02\x01\x01", "latin1")
    bytes.writeUInt16LE(type, 16)
    return bytes
  }
  const at = (offset: number, text: string) =>
    Buffer.concat([Buffer.alloc(offset), Buffer.from(text, "latin1"), Buffer.alloc(8)])
  const changed = (bytes: Buffer, index: number) => {
    bytes[index] = (bytes[index] ?? 0) ^ 1
    return bytes
  }
  // What keytool writes: magic, version, number of entries, kind of the first.
  const keystore = (kind: number) => Buffer.from([0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, kind, 0, 1])
  const cases: [string, Buffer | string][] = [
    ["empty", ""],
    ["elf", elf(3)],
    ["elf-object", elf(1)],
    ["ar", "!<arch>\nx"],
    ["gzip", gzipSync("x")],
    ["zstd", zstdCompressSync(Buffer.from("x"))],
    ["xz", Buffer.from("\xfd7zXZ\0\0\x04", "latin1")],
    ["bzip2", Buffer.from("BZh91AY&SY\0", "latin1")],
    ["zip", "PK\x03\x04rest"],
    ["tar", archive(hello)],
    ["python-bytecode", Buffer.concat([Buffer.from([0xa7, 0x0d, 0x0d, 0x0a]), Buffer.alloc(12)])],
    ["script", "#!/bin/sh\n"],
    ["sqlite", "SQLite format 3\0rest"],
    ["pem", "-----BEGIN CERTIFICATE-----\nMII\n"],
    ["private-key", "a comment\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n"],
    ["private-key", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"],
    ["squashfs", "hsqs\x01"],
    ["iso9660", at(32_769, "CD001")],
    ["text", "plain\twords, grüße\n"],
    ["text", 'pem = "-----BEGIN PRIVATE KEY-----"\n'],
    ["binary", Buffer.from([1, 2, 3, 0])],
    ["deb", "!<arch>\ndebian-binary   1342943816  0     0     100644  4         `\n2.0\n"],
    ["rpm", Buffer.from("\xed\xab\xee\xdb\x03\0", "latin1")],
    ["compress", Buffer.from("\x1f\x9d\x90", "latin1")],
    ["lz4", Buffer.from("\x04\x22\x4d\x18d", "latin1")],
    ["lzip", Buffer.from("LZIP\x01\x0c", "latin1")],
    ["zip", "PK\x05\x06rest"],
    ["zip", "#!/usr/bin/env python3\nPK\x03\x04rest"],
    ["7z", Buffer.from("7z\xbc\xaf\x27\x1c\0\x04", "latin1")],
    ["rar", Buffer.from("Rar!\x1a\x07\x01\0", "latin1")],
    ["cab", Buffer.from("MSCF\0\0\0\0xx", "latin1")],
    ["xar", Buffer.from("xar!\0\x1c\0\x01", "latin1")],
    ["cpio", "0707010000A3B2"],
    ["tar", archive(entry("old", { magic: "v7", content: "x" }))],
    ["binary", changed(archive(entry("old", { magic: "v7", content: "x" })), 150)],
    ["cramfs", Buffer.from("\x45\x3d\xcd\x28\0\0", "latin1")],
    ["erofs", at(1024, "\xe2\xe1\xf5\xe0")],
    ["ext", Buffer.concat([at(1024 + 56, "\x53\xef"), Buffer.alloc(64)])],
    ["disk-image", Buffer.from("QFI\xfb\0\0\0\x03", "latin1")],
    ["git-pack", Buffer.from("PACK\0\0\0\x02\0\0\0\x01", "latin1")],
    ["gguf", Buffer.from("GGUF\x03\0\0\0", "latin1")],
    ["safetensors", Buffer.concat([Buffer.from([60, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{"w":{"dtype":"F32"}}')])],
    ["hdf5", Buffer.from("\x89HDF\r\n\x1a\n", "latin1")],
    ["parquet", Buffer.from("PAR1\x15\0", "latin1")],
    ["key-store", keystore(1)],
    ["binary", keystore(2)],
    ["private-key", "PuTTY-User-Key-File-3: ssh-ed25519\n"],
    ["credentials", "registry=https://npm.example/\n//npm.example/:_authToken=npm_x\n"],
    ["text", "//npm.example/:_authToken=$NPM_TOKEN\n"],
    ["text", "//{registry}/:_authToken={token}\n"],
    ["text", "const key = `//npm.example/:_authToken`\n"],
  ]

  it.each(cases)("%s", async (kind, content) => {
    const tar = archive(entry("f", { content }))
    expect((await readTar(tar)).entries[0]?.content).toBe(kind)
    // The same where the file comes in pieces.
    const { source } = layer(tar)
    const inPieces = await readLayer(Readable.from(pieces(tar, 100), { objectMode: false }), source)
    expect(inPieces.entries[0]).toMatchObject({ content: kind, sha256: sha256(Buffer.from(content)) })
  })
})

function pieces(bytes: Buffer, length: number): Buffer[] {
  const all: Buffer[] = []
  for (let i = 0; i < bytes.length; i += length) all.push(bytes.subarray(i, i + length))
  return all
}

describe("compression", () => {
  it.each(["none", "gzip", "zstd"] as const)("%s: the same inventory however the bytes arrive", async compression => {
    const tar = archive(
      hello,
      entry("n", { content: Buffer.alloc(70_000, 7) }),
      entry("l", { type: "2", linkName: "x" }),
    )
    const { blob, source } = layer(tar, compression)
    const whole = await read({ blob, source })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2000 }), async length => {
        const parts = Readable.from(pieces(blob, length), { objectMode: false })
        expect((await readLayer(parts, source)).entries).toEqual(whole.entries)
      }),
      { numRuns: 20 },
    )
  })

  it("reads gzip of several members, as eStargz writes it", async () => {
    const tar = archive(hello)
    const blob = Buffer.concat(pieces(tar, 512).map(piece => gzipSync(piece)))
    expect((await read(storedLayer(blob, digest(tar), "gzip"))).entries).toHaveLength(1)
  })

  it("reads zstd of several frames, skippable ones among them, as zstd:chunked writes it", async () => {
    const tar = archive(hello, entry("more", { content: Buffer.alloc(300_000, 3) }))
    const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from("hello")])
    const frames = pieces(tar, 100_000).flatMap(piece => [skippable, zstdCompressSync(piece)])
    const blob = Buffer.concat([...frames, skippable])
    const { source } = storedLayer(blob, digest(tar), "zstd")
    for (const length of [1, 7, 1000, blob.length]) {
      const parts = Readable.from(pieces(blob, length), { objectMode: false })
      expect((await readLayer(parts, source)).entries).toHaveLength(2)
    }
  })

  const after = {
    gzip: { junk: Buffer.from("junk"), zeros: Buffer.alloc(64) },
    zstd: { junk: Buffer.from("junk"), zeros: Buffer.alloc(64) },
  }
  it.each([
    ["gzip", "junk"],
    ["gzip", "zeros"],
    ["zstd", "junk"],
    ["zstd", "zeros"],
  ] as const)("%s: refuses %s after the end", async (compression, what) => {
    const tar = archive(hello)
    const blob = Buffer.concat([layer(tar, compression).blob, after[compression][what]])
    const { source } = storedLayer(blob, digest(tar), compression)
    expect(await refusalCode(read({ blob, source }))).toBe("malformed-image")
    expect(await refusalCode(readLayer(Readable.from(pieces(blob, 50), { objectMode: false }), source))).toBe(
      "malformed-image",
    )
  })

  it("refuses a type of layer that it cannot read", async () => {
    const { blob, source } = layer(archive(hello))
    const mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    const foreign = { ...source, descriptor: { ...source.descriptor, mediaType } }
    expect(await refusalCode(read({ blob, source: foreign }))).toBe("malformed-image")
  })
})

describe("refused layers", () => {
  const oneZeroBlock = Buffer.alloc(512)
  const sized = (value: string) => (block: Buffer) => block.write(value, 124, "latin1")
  const cases: [string, string, Buffer][] = [
    ["an archive that is not one", "malformed-image", Buffer.alloc(2048, "x")],
    ["no end-of-archive blocks", "malformed-image", Buffer.concat([hello])],
    ["one end-of-archive block only", "malformed-image", Buffer.concat([hello, oneZeroBlock])],
    [
      "an entry after an end-of-archive block",
      "malformed-image",
      Buffer.concat([hello, oneZeroBlock, hello, endOfArchive]),
    ],
    ["bytes after the end", "malformed-image", Buffer.concat([archive(hello), Buffer.from("x")])],
    ["a second archive after the end", "malformed-image", Buffer.concat([archive(hello), archive(hello)])],
    ["a wrong checksum", "malformed-image", archive(Buffer.concat([flip(header("f"), 3)]))],
    ["a size that is not octal", "malformed-image", archive(entry("f", { patch: sized("00000000009\0") }))],
    [
      "a size beyond what numbers hold",
      "malformed-image",
      archive(entry("f", { patch: block => block.fill(0xff, 124, 136).writeUInt8(0x80, 124) })),
    ],
    ["a negative size", "malformed-image", archive(entry("f", { patch: block => block.fill(0xff, 124, 136) }))],
    ["a size far beyond the archive", "malformed-image", archive(entry("f", { size: 8 ** 11 - 1 }))],
    ["a directory with a size", "malformed-image", archive(entry("d/", { type: "5", content: "x".repeat(512) }))],
    ["a hard link with a size", "malformed-image", archive(entry("h", { type: "1", linkName: "f", content: "x" }))],
    ["a link to nothing", "malformed-image", archive(entry("l", { type: "2" }))],
    ["a file with a slash at its end", "malformed-image", archive(entry("f/", { content: "x" }))],
    ["an entry without a path", "malformed-image", archive(entry("", { content: "x" }))],
    ["an unknown type", "malformed-image", archive(entry("f", { type: "Z" }))],
    ["a GNU sparse file", "malformed-image", archive(entry("f", { type: "S", magic: "gnu" }))],
    ["a pax sparse file", "malformed-image", archive(entry("f", { pax: { "GNU.sparse.major": "1" } }))],
    ["a global pax header that renames", "malformed-image", archive(pax({ path: "all" }, "g"), hello)],
    ["a global pax header with attributes", "malformed-image", archive(pax({ "SCHILY.xattr.a": "b" }, "g"), hello)],
    ["two pax headers for one entry", "malformed-image", archive(pax({ path: "a" }), pax({ path: "b" }), hello)],
    ["two long names for one entry", "malformed-image", archive(gnuLongName("a"), gnuLongName("b"), hello)],
    ["a pax and a GNU name for one entry", "malformed-image", archive(gnuLongName("a"), pax({ path: "b" }), hello)],
    ["a pax header without an entry", "malformed-image", archive(hello, pax({ path: "a" }))],
    ["a pax path with a NUL", "malformed-image", archive(entry("f", { pax: { path: "a\0b" } }))],
    ["a GNU name with a NUL inside", "malformed-image", archive(gnuLongName("a\0b"), hello)],
    ["a pax size that is not a count", "malformed-image", archive(entry("f", { pax: { size: "-1" } }))],
    ["a pax time that is not a number", "malformed-image", archive(entry("f", { pax: { mtime: "1e400" } }))],
    [
      "a pax record longer than its header",
      "malformed-image",
      archive(entry("p", { type: "x", content: "99 path=a\n" }), hello),
    ],
    [
      "a pax record without a length",
      "malformed-image",
      archive(entry("p", { type: "x", content: "path=a\n" }), hello),
    ],
    [
      "a pax record with a length of zero",
      "malformed-image",
      archive(entry("p", { type: "x", content: "0 path=a\n" }), hello),
    ],
    ["a path of 100,000 bytes", "limit-exceeded", archive(entry("f", { pax: { path: "a".repeat(100_000) } }))],
    [
      "a link target of 100,000 bytes",
      "limit-exceeded",
      archive(entry("f", { type: "2", pax: { linkpath: "a".repeat(100_000) } })),
    ],
    ["a pax header of 2 MB", "limit-exceeded", archive(entry("f", { pax: { comment: "a".repeat(2_000_000) } }))],
    ["a pax header that claims 8 GB", "limit-exceeded", archive(header("p", { type: "x", size: 8 ** 11 - 1 }))],
    ["attributes of 100 kB", "limit-exceeded", archive(entry("f", { pax: { "SCHILY.xattr.a": "a".repeat(100_000) } }))],
    [
      "attributes by the hundred",
      "limit-exceeded",
      archive(
        entry("f", { pax: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`SCHILY.xattr.${i}`, ""])) }),
      ),
    ],
  ]

  it.each(cases)("%s", async (_, code, tar) => {
    expect(await refusalCode(readTar(tar))).toBe(code)
  })

  it("names the layer, and the place in the archive", async () => {
    const { message } = await refusal(readTar(archive(hello, entry("f", { type: "Z" }))))
    expect(message).toMatch(/^layer 0 \(sha256:[0-9a-f]{64}\): "f" is an entry of unknown type "Z" \(near byte 1024 of/)
  })

  it("too many entries", async () => {
    const tar = archive(...Array.from({ length: 11 }, (_, i) => entry(`f${i}`)))
    expect(await refusalCode(readTar(tar, { limits: { entries: 10 } }))).toBe("limit-exceeded")
  })

  it.each(["gzip", "zstd"] as const)("a %s bomb, long before it is unpacked", async compression => {
    const size = 60 * 1024 ** 2
    const bomb = layer(Buffer.concat([header("zeros", { size }), Buffer.alloc(size)]), compression)
    const { code, message } = await refusal(read(bomb, { limits: { expansionFloorBytes: 2 * 1024 ** 2 } }))
    expect([code, message]).toEqual(["limit-exceeded", expect.stringContaining("expands to more than 200 times")])
  })

  it("more bytes than a layer may unpack to", async () => {
    const tar = archive(entry("f", { content: Buffer.alloc(100_000) }))
    expect(await refusalCode(readTar(tar, { limits: { unpackedBytes: 50_000 } }))).toBe("limit-exceeded")
  })

  it("another blob, another archive, another length", async () => {
    const { blob, source } = layer(archive(hello), "gzip")
    const other = layer(archive(entry("other", { content: "x" })), "gzip")
    const named = (change: object) => ({ ...source, descriptor: { ...source.descriptor, ...change } })
    for (const wrong of [
      named({ digest: other.source.descriptor.digest }),
      named({ size: blob.length + 1 }),
      named({ size: blob.length - 1 }),
      { ...source, diffId: other.source.diffId },
    ])
      expect(await refusalCode(read({ blob, source: wrong }))).toBe("digest-mismatch")
  })

  it("an interrupted reading", async () => {
    const { blob, source } = layer(archive(entry("f", { content: Buffer.alloc(5_000_000, 1) })))
    const abort = new AbortController()
    const endless = Readable.from(
      (async function* () {
        yield blob.subarray(0, 1000)
        abort.abort()
        await new Promise(() => {})
      })(),
      { objectMode: false },
    )
    expect(await refusalCode(readLayer(endless, source, { signal: abort.signal }))).toBe("interrupted")
  })
})

function flip(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  const offset = Math.floor(bit / 8) % copy.length
  copy.writeUInt8((copy[offset] ?? 0) ^ (1 << (bit % 8)), offset)
  return copy
}

describe("damage", () => {
  const tar = archive(
    entry("d/", { type: "5" }),
    entry("x", { pax: { path: `${"long/".repeat(40)}x`, "SCHILY.xattr.user.a": "v" }, content: "z".repeat(3000) }),
    gnuLongName("n".repeat(300)),
    entry("n", { magic: "gnu", content: Buffer.alloc(5000, 7) }),
    entry("l", { type: "2", linkName: "x" }),
  )

  it.each(["none", "gzip", "zstd"] as const)(
    "%s: a flipped bit or a missing end is always refused",
    async compression => {
      const { blob, source } = layer(tar, compression)
      await fc.assert(
        fc.asyncProperty(fc.nat(blob.length * 8 - 1), fc.nat(blob.length - 1), async (bit, length) => {
          for (const damaged of [flip(blob, bit), blob.subarray(0, length)])
            expect((await refusal(read({ blob: damaged, source }))).exitCode).toBe(4)
        }),
        { numRuns: 150 },
      )
    },
  )

  it.each(["none", "gzip", "zstd"] as const)(
    "%s: with digests to match, it is read or refused, no third",
    async compression => {
      const { blob } = layer(tar, compression)
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(blob.length * 8 - 1), { minLength: 1, maxLength: 3 }), async bits => {
          const damaged = bits.reduce(flip, blob)
          // Whoever alters a layer can name it by its new digest; the archive's own is not known for broken data.
          const forged = storedLayer(damaged, digest(compression === "none" ? damaged : tar), compression)
          const outcome = await read(forged).catch((error: unknown) => error)
          if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvidenceError)
        }),
        { numRuns: 150 },
      )
    },
  )

  it("random headers with right checksums are read or refused, no third", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 512, maxLength: 512 }),
        fc.constantFrom(..."01234567xgLKS\0"),
        async (noise, type) => {
          const block = header("f", { type, patch: block => Buffer.from(noise).copy(block, 100, 100, 148) })
          const outcome = await readTar(archive(withChecksum(block))).catch((error: unknown) => error)
          if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvidenceError)
        },
      ),
    )
  })

  it("random pax headers are read or refused, no third", async () => {
    const record = fc
      .tuple(fc.constantFrom("path", "size", "mtime", "uid", "SCHILY.xattr.a", "x"), fc.uint8Array({ maxLength: 20 }))
      .map(([key, value]) => paxRecord(key, Buffer.from(value)))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(record, fc.uint8Array({ maxLength: 20 }).map(Buffer.from))), async records => {
        const tar = archive(entry("p", { type: "x", content: Buffer.concat(records) }), hello)
        const outcome = await readTar(tar).catch((error: unknown) => error)
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvidenceError)
      }),
    )
  })
})

describe("wanted files", () => {
  it("keeps what is asked for, and null for what is larger", async () => {
    const tar = archive(
      entry("./want/a", { content: "first" }),
      entry("want/b", { content: "x".repeat(100) }),
      entry("other", { content: "y" }),
      entry("want/c", { content: Buffer.alloc(90_000, 5) }),
    )
    const wants = (path: string) => (path === "want/c" ? 100_000 : path.startsWith("want/") ? 50 : 0)
    const { source } = layer(tar)
    const { wanted } = await readLayer(Readable.from(pieces(tar, 1000), { objectMode: false }), source, { wants })
    expect([...wanted]).toEqual([
      [0, Buffer.from("first")],
      [1, null],
      [3, Buffer.alloc(90_000, 5)],
    ])
  })

  it("stops keeping when all together are too many bytes", async () => {
    const tar = archive(entry("a", { content: "x".repeat(60) }), entry("b", { content: "x".repeat(60) }))
    const { wanted } = await readTar(tar, { wants: () => 1000, limits: { wantedBytes: 100 } })
    expect([wanted.get(0)?.length, wanted.get(1)]).toEqual([60, null])
  })
})

function sampleTree(longNames = true): string {
  const folder = temporaryFolder()
  if (longNames) addLongNames(folder)
  writeFileSync(join(folder, "grüße.txt"), "text")
  writeFileSync(join(folder, "empty"), "")
  writeFileSync(join(folder, "large"), Buffer.alloc(300_000, 65))
  symlinkSync("grüße.txt", join(folder, "link"))
  return folder
}

function addLongNames(folder: string): void {
  mkdirSync(join(folder, "deep", "d".repeat(120), "e".repeat(120)), { recursive: true })
  writeFileSync(join(folder, "deep", "d".repeat(120), "e".repeat(120), "f".repeat(80)), "far away")
  symlinkSync("t".repeat(150), join(folder, "long-link"))
}

const TYPE_OF_NODE_TAR: Readonly<Record<string, InventoryEntry["type"]>> = {
  File: "file",
  Directory: "directory",
  SymbolicLink: "symlink",
  Link: "hardlink",
}

async function listWithNodeTar(tar: Buffer) {
  const entries: { path: string; type: string | undefined; size: number; mode: number; linkTarget?: string }[] = []
  await new Promise<void>((resolve, reject) => {
    const parser = new Parser({ strict: true })
    parser.on("entry", (found: ReadEntry) => {
      const { path, type, size, mode, linkpath } = found
      const target = type === "SymbolicLink" || type === "Link" ? { linkTarget: linkpath ?? "" } : {}
      entries.push({ path, type: TYPE_OF_NODE_TAR[type], size, mode: mode ?? 0, ...target })
      found.resume()
    })
    parser.on("end", resolve)
    parser.on("error", reject)
    parser.end(tar)
  })
  return entries
}

const comparable = (entries: readonly InventoryEntry[]) =>
  entries.map(({ path, type, size, mode, linkTarget }) => ({
    path,
    type,
    size,
    mode,
    ...(linkTarget === undefined ? {} : { linkTarget }),
  }))

describe("archives of other programs", () => {
  it("node-tar's: the same entries as node-tar reads", async () => {
    const folder = sampleTree()
    const file = join(temporaryFolder(), "layer.tar")
    await create({ cwd: folder, file }, ["."])
    const tar = readFileSync(file)
    expect(comparable((await readTar(tar)).entries)).toEqual(await listWithNodeTar(tar))
  })

  it.each(["ustar", "gnu", "pax"])("GNU tar's %s format: the same entries as node-tar reads", async format => {
    const tar = gnuTar(`--format=${format}`, "-C", sampleTree(format !== "ustar"), ".")
    const { entries } = await readTar(tar)
    expect(comparable(entries)).toEqual(await listWithNodeTar(tar))
    expect(entries.find(({ path }) => path === "./large")?.sha256).toBe(sha256(Buffer.alloc(300_000, 65)))
  })

  it("GNU tar's attributes, which node-tar drops", async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, "f"), "x")
    try {
      execFileSync("setfattr", ["-n", "user.note", "-v", "0x00ff0a", join(folder, "f")])
    } catch {
      // Without the program or the file system's help, GNU tar's own option writes the record.
      const tar = gnuTar("--format=pax", "--pax-option=SCHILY.xattr.user.note:=abc", "-C", folder, "f")
      expect((await readTar(tar)).entries[0]?.xattrs).toEqual({ "user.note": "YWJj" })
      return
    }
    const tar = gnuTar("--format=pax", "--xattrs", "-C", folder, "f")
    expect((await readTar(tar)).entries[0]?.xattrs).toEqual({ "user.note": "AP8K" })
  })

  it.each(["gnu", "pax"])("GNU tar's sparse files in %s format are refused", async format => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, "holes"), "x")
    truncateSync(join(folder, "holes"), 10_000_000)
    const tar = gnuTar(`--format=${format}`, "--sparse", "-C", folder, "holes")
    expect(tar.length).toBeLessThan(1_000_000)
    const { code, message } = await refusal(readTar(tar))
    expect([code, message]).toEqual(["malformed-image", expect.stringContaining("sparse")])
  })
})

const gnuTar = (...args: string[]): Buffer => execFileSync("tar", ["-c", ...args], { maxBuffer: 64 * 1024 ** 2 })

describe("a header by itself", () => {
  it("is decoded exactly, names as bytes", () => {
    const decoded = decodeTarHeader(
      header("n", {
        prefix: "p",
        mode: 0o755,
        uid: 1,
        gid: 2,
        size: 3,
        mtime: 4,
        userName: "u",
        groupName: "g",
        device: [5, 6],
      }),
    )
    expect(decoded).toMatchObject({ mode: 0o755, uid: 1, gid: 2, size: 3, mtime: 4, typeflag: "0", format: "ustar" })
    expect(decoded).toMatchObject({
      deviceMajor: 5,
      deviceMinor: 6,
      name: Uint8Array.of(0x6e),
      prefix: Uint8Array.of(0x70),
    })
  })

  it("keeps GNU's other fields out of the path", () => {
    const block = header("n", { magic: "gnu", prefix: "00000000000" })
    expect(decodeTarHeader(block)).toMatchObject({ format: "gnu", prefix: new Uint8Array(0) })
  })

  it("tells the end of the archive", () => {
    expect(decodeTarHeader(new Uint8Array(512))).toBe("end-of-archive-block")
  })

  it("is refused for any flipped bit outside the checksum", () => {
    const block = header("name", { size: 5, userName: "me" })
    const bits = Array.from({ length: 512 * 8 }, (_, bit) => bit).filter(bit => bit < 148 * 8 || bit >= 156 * 8)
    const accepted = bits.filter(bit => {
      try {
        return decodeTarHeader(flip(block, bit)) !== undefined
      } catch (error) {
        expect(error).toMatchObject({ code: "malformed-archive" })
        return false
      }
    })
    expect(accepted).toEqual([])
  })
})
