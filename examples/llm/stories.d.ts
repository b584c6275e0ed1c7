/** The path of the model's GGUF file, which is made when it is not there yet; `tell` is told what takes time. */
export function storiesModel(tell: (text: string) => void): Promise<string>;
