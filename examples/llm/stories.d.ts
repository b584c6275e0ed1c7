/** Returns the path of the model's GGUF file, and creates the file if it is missing. `report` gets the steps that take time. */
export function createStoriesModel(report: (text: string) => void): Promise<string>;
