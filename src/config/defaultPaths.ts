/** Where things are, unless flags, the file or the environment say otherwise. */
export const defaultConfigPath = "/etc/sallyport/sallyport.yaml"
export const defaultControlSocket = "/run/sallyport/sallyport.sock"
export const defaultStateDir = "/var/lib/sallyport"
export const defaultPortalStateDir = "/var/lib/firezone"
