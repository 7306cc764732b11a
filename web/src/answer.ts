// An answer of the server as state of a view: read again when the path, its parameters or `again` change.
import { useEffect, useState } from "preact/hooks";
import { ApiError, get } from "./api";

export interface Answer<T> {
  answer: T | null;
  error: ApiError | null;
}

export function useAnswer<T>(path: string, parameters: Record<string, string | number> = {}, again: unknown = 0): Answer<T> {
  const [state, setState] = useState<Answer<T>>({ answer: null, error: null });
  const key = JSON.stringify(parameters);
  useEffect(() => {
    let live = path !== "";
    if (live) {
      get<T>(path, parameters).then(
        (answer) => live && setState({ answer, error: null }),
        (e: unknown) => {
          if (!(e instanceof ApiError)) throw e;
          if (live) setState((before) => ({ answer: before.answer, error: e })); // what was shown stays
        },
      );
    }
    return () => {
      live = false;
    };
  }, [path, key, again]);
  return state;
}
