// Where package managers write down what they installed, and how much of each file is read.

const OS_RELEASE_BYTES = 65_536
const METADATA_BYTES = 4_194_304
const DPKG_STATUS_BYTES = 67_108_864
const COPYRIGHT_BYTES = 262_144

export const DPKG_STATUS = "var/lib/dpkg/status"
/** Distroless images keep one file a package here. */
export const DPKG_STATUS_FOLDER = "var/lib/dpkg/status.d/"
/** In order of precedence (os-release(5)). */
export const OS_RELEASE = ["etc/os-release", "usr/lib/os-release"] as const

const PYTHON_METADATA = /\.dist-info\/METADATA$|\.egg-info(\/PKG-INFO)?$/
export const isPythonMetadata = (path: string): boolean => PYTHON_METADATA.test(path)
export const isDistInfoFolder = (path: string): boolean => path.endsWith(".dist-info")

/** Databases that this version does not read: an image that has one is not described in full. */
const UNREAD_DATABASES = [
  { path: /^(usr\/)?lib\/apk\/db\/installed$/, manager: "apk" },
  { path: /^(var\/lib|usr\/lib\/sysimage)\/rpm\/(rpmdb\.sqlite|Packages|Packages\.db)$/, manager: "rpm" },
  { path: /^var\/lib\/pacman\/local\/ALPM_DB_VERSION$/, manager: "pacman" },
] as const

export const unreadManager = (path: string): string | undefined =>
  UNREAD_DATABASES.find(database => database.path.test(path))?.manager

const COPYRIGHT = /^usr\/share\/doc\/[^/]+\/copyright$/
export const copyrightOf = (packageName: string): string => `usr/share/doc/${packageName}/copyright`

/** How many bytes the SBOM needs of the file at this path in the root file system. */
export function packageDatabaseBytes(path: string): number {
  if (isPythonMetadata(path)) return METADATA_BYTES
  if (path === DPKG_STATUS) return DPKG_STATUS_BYTES
  if (isStatusFragment(path)) return METADATA_BYTES
  if (COPYRIGHT.test(path)) return COPYRIGHT_BYTES
  return (OS_RELEASE as readonly string[]).includes(path) ? OS_RELEASE_BYTES : 0
}

export const isStatusFragment = (path: string): boolean =>
  path.startsWith(DPKG_STATUS_FOLDER) && !path.endsWith(".md5sums")
