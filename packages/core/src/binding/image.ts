import type { AuthenticatedBundle } from "../authenticate.js"
import { membersOfRole } from "../bundle/reader.js"
import { digestOfHex } from "../digest.js"
import { EvidenceError } from "../errors.js"
import { parseInventory } from "../image/inventory.js"
import { buildImageView, type Descriptor, manifestMediaTypes, parseImageIndex } from "../image/manifest.js"
import type { ImageView, InventoryEntry } from "../image/view.js"
import { canonicalJson } from "../json.js"
import { type Binding, broken, bytesOf, type OwnReading } from "./binding.js"

export async function bindImage(authenticated: AuthenticatedBundle, own: OwnReading): Promise<ImageView> {
  const { bundle, predicate } = authenticated
  const stated = membersOfRole(bundle, "layer-inventory")
    .toSorted((a, b) => layerIndex(a.path) - layerIndex(b.path))
    .map((member, i) => {
      if (layerIndex(member.path) !== i) throw broken(`the inventory of layer ${i} is missing`)
      return parseInventory(member.bytes, member.path)
    })
  const image = await buildImageView({
    manifestBytes: bytesOf(authenticated, "image-manifest").bytes,
    configBytes: bytesOf(authenticated, "image-config").bytes,
    layers: stated,
  })
  if (predicate.image.configDigest !== image.configDigest) throw broken("the predicate names another image config")
  if (predicate.image.platform !== image.platform) throw broken("the predicate names another platform")
  bindIndex(authenticated, image)
  if (own.layers !== undefined) compareInventories(image, own.layers)
  return image
}

function bindIndex({ bundle, predicate }: AuthenticatedBundle, image: ImageView): void {
  const [index, ...others] = membersOfRole(bundle, "image-index")
  const digest = index === undefined ? null : digestOfHex(index.sha256)
  if (others.length > 0 || predicate.image.indexDigest !== digest)
    throw broken("the predicate names another image index")
  if (predicate.image.judgedPlatforms.join() !== image.platform)
    throw broken("the predicate names platforms that nobody judged")
  if (index === undefined) return
  const { length } = bytesOf({ bundle }, "image-manifest").bytes
  const fits = ({ mediaType, size, platform = image.platform }: Descriptor) =>
    manifestMediaTypes.includes(mediaType) && size === length && platform === image.platform
  const rows = parseImageIndex(index.bytes).manifests.filter(row => row.digest === image.manifestDigest)
  if (!rows.some(fits)) throw broken("image/index.json does not list the image as what it is")
}

const layerIndex = (path: string): number => Number(/\/(\d+)\.jsonl$/.exec(path)?.[1] ?? -1)

// The bundle's inventories are the signer's word; the layers themselves are not.
function compareInventories(image: ImageView, own: readonly (readonly InventoryEntry[])[]): void {
  for (const [i, { entries }] of image.layers.entries()) {
    const real = own[i] ?? []
    for (let row = 0; row < Math.max(entries.length, real.length); row++) {
      const stated = entries[row]
      const found = real[row]
      if (stated !== undefined && found !== undefined && canonicalJson(stated) === canonicalJson(found)) continue
      const path = (stated ?? found)?.path ?? "an entry whose name is not UTF-8"
      throw new EvidenceError(
        "observation-disagrees",
        `layer ${i} ${path}: the bundle's inventory is not what the layer holds`,
      )
    }
  }
}

export function imageFromSource({ predicate }: AuthenticatedBundle): Binding {
  const because = predicate.image.builtFromSubmission
    ? "the signer's word: only a second signer's build could confirm it"
    : "not tied: the image was given, not built by the run that made this evidence"
  return { id: "image-from-source", outcome: "not-checked", because }
}

// An index may offer images that nobody judged to those who pull for another platform.
export function judgedPlatforms({ bundle, predicate }: AuthenticatedBundle, own: OwnReading): Binding {
  const indexes = [own.index, membersOfRole(bundle, "image-index")[0]?.bytes]
  const count = Math.max(1, ...indexes.map(bytes => (bytes === undefined ? 1 : imagesOf(bytes))))
  const because = `1 of ${count} (${predicate.image.platform})`
  return { id: "platforms", outcome: count === 1 ? "holds" : "not-checked", because }
}

// Whatever is not surely an attestation may be an image that somebody pulls.
const imagesOf = (index: Uint8Array): number =>
  parseImageIndex(index).manifests.filter(
    ({ platform, annotations }) =>
      platform !== "unknown/unknown" || annotations["vnd.docker.reference.type"] !== "attestation-manifest",
  ).length
