import type { ImageInventory } from "../image-inventory.js"
import type { OpenedImage } from "../opened-image.js"
import { buildSbom, type Sbom } from "./build.js"

// Not this package's version: whoever reads the same layers must get the same bytes, until what is written changes.
const GENERATOR = { name: "envidence-sbom", version: "2" } as const

/** The SBOM of an image whose layers were read. @throws EvidenceError limit-exceeded */
export const buildImageSbom = ({ manifestDigest, platform }: OpenedImage, { layers }: ImageInventory): Sbom =>
  buildSbom({ manifestDigest, platform, layers, tool: GENERATOR })
