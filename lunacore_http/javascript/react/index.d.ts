/** LunaCore's secure components for React 18 and 19. docs/reference/react.md lists what each takes. */

import type {
  ChoiceOption,
  InputType,
  SecureCopyElement,
  SecureDownloadElement,
  SecureElement,
  SecureElementError,
  SecureImageElement,
  SecureInputElement,
  SecureParagraphElement,
  SecureRadioElement,
  SecureSelectElement,
  SecureSpanElement,
  SecureTextAreaElement,
  SecureUploadElement,
  SecureViewerElement,
  Validator,
} from "@lunacore/elements";
import type { ComponentPropsWithRef, Context, CSSProperties, ForwardRefExoticComponent, HTMLAttributes, ReactElement, ReactNode, RefAttributes } from "react";

export { SecureElementError, SecureElementError as LunaSecError } from "@lunacore/elements";

export interface LunaSecConfigContextProps {
  /** The tokenizer's public URL. Without it the page loads the components itself. */
  lunaSecDomain?: string | undefined;
  /** Called when there is no session, or not the right one; for components that fail together, once. */
  authenticationErrorHandler?: ((error: SecureElementError) => void) | undefined;
  /** The identity provider that gives this page's session, where the tokenizer has several. */
  provider?: string | undefined;
  /** The nonce of the page's Content-Security-Policy. */
  nonce?: string | undefined;
}

export interface LunaCoreProviderProps extends Omit<LunaSecConfigContextProps, "lunaSecDomain"> {
  /** The tokenizer's public URL. Without it the page loads the components itself. */
  tokenizerUrl?: string | undefined;
  children?: ReactNode;
}

export declare const LunaSecConfigContext: Context<LunaSecConfigContextProps | null>;
export declare function LunaCoreProvider(props: LunaCoreProviderProps): ReactElement;

/** An event of a component: the browser's own, with the element as its target. */
export type SecureEvent<Target extends HTMLElement, Detail = null> = Omit<CustomEvent<Detail>, "target" | "currentTarget"> & {
  readonly target: Target;
  readonly currentTarget: Target;
};

type Native = "onBlur" | "onChange" | "onError" | "onFocus" | "onInvalid" | "onProgress" | "defaultValue" | "children" | "dangerouslySetInnerHTML";

export interface SecureProps<Target extends HTMLElement> extends Omit<HTMLAttributes<Target>, Native> {
  /** What it shows or holds; when it changes, so does what is shown. */
  token?: string | null | undefined;
  /** What the element reports as an error, and that the components did not load. */
  errorHandler?: ((error: SecureElementError) => void) | undefined;
  onError?: ((event: SecureEvent<Target, { name: string }>) => void) | undefined;
  onReady?: ((event: SecureEvent<Target>) => void) | undefined;
  className?: string | undefined;
  style?: CSSProperties | undefined;
}

export interface SecureTextProps<Target extends SecureElement> extends SecureProps<Target> {
  placeholder?: string | undefined;
  reveal?: "click" | undefined;
}

export interface SecureFileProps<Target extends SecureElement> extends SecureProps<Target> {
  placeholder?: string | undefined;
}

export interface SecureButtonProps<Target extends SecureElement> extends SecureProps<Target> {
  disabled?: boolean | undefined;
}

export interface SecureFieldProps<Target extends SecureElement<any>> extends SecureProps<Target> {
  name?: string | undefined;
  /** Controlled: it holds this token, empty or null for none. `onChange` tells of another. */
  value?: string | null | undefined;
  /** Uncontrolled: the token that it begins with. */
  defaultValue?: string | null | undefined;
  /** What was typed has a token, or was removed: `event.target.value`. */
  onChange?: ((event: SecureEvent<Target, { token: string }>) => void) | undefined;
  onFocus?: ((event: SecureEvent<Target>) => void) | undefined;
  onBlur?: ((event: SecureEvent<Target>) => void) | undefined;
  onProgress?: ((event: SecureEvent<Target>) => void) | undefined;
  onInvalid?: ((event: SecureEvent<Target>) => void) | undefined;
  onValid?: ((event: SecureEvent<Target>) => void) | undefined;
  /** What was typed was judged. */
  onValidate?: ((valid: boolean) => void) | undefined;
  required?: boolean | undefined;
  disabled?: boolean | undefined;
  readOnly?: boolean | undefined;
  autoFocus?: boolean | undefined;
}

export interface SecureTextFieldProps<Target extends SecureElement<any>> extends SecureFieldProps<Target> {
  maxLength?: number | undefined;
  placeholder?: string | undefined;
  autoComplete?: string | undefined;
}

export interface SecureTextAreaProps extends SecureTextFieldProps<SecureTextAreaElement> {
  minLength?: number | undefined;
  rows?: number | undefined;
  cols?: number | undefined;
  wrap?: "soft" | "off" | undefined;
}

export interface SecureChoiceProps<Target extends SecureElement<any>> extends SecureFieldProps<Target> {
  /** What can be chosen; or `<option>` elements within. */
  options?: readonly (string | ChoiceOption)[] | undefined;
  shuffle?: boolean | undefined;
  children?: ReactNode;
}

export interface SecureSelectProps extends SecureChoiceProps<SecureSelectElement> {
  placeholder?: string | undefined;
}

export interface SecureRadioProps extends SecureChoiceProps<SecureRadioElement> {
  orientation?: "vertical" | "horizontal" | undefined;
}

export interface SecureUploadProps extends SecureFieldProps<SecureUploadElement> {
  /** The tokens of the files that are there already. `fileTokens` and `filetokens` are the same. */
  tokens?: readonly string[] | undefined;
  fileTokens?: readonly string[] | undefined;
  filetokens?: readonly string[] | undefined;
  /** A file has come or gone: the tokens of all. */
  onTokenChange?: ((tokens: string[]) => void) | undefined;
  /** True unless said otherwise. */
  multiple?: boolean | undefined;
  accept?: string | undefined;
  maxSize?: string | number | undefined;
  maxFiles?: number | undefined;
}

export interface SecureInputProps extends SecureTextFieldProps<SecureInputElement> {
  type?: InputType | (string & {}) | undefined;
  validator?: Validator | Uppercase<Validator> | "Email" | undefined;
  mask?: string | undefined;
}

type Component<Props, Target> = ForwardRefExoticComponent<Props & RefAttributes<Target>>;

export declare const SecureForm: ForwardRefExoticComponent<ComponentPropsWithRef<"form">>;
export declare const SecureInput: Component<SecureInputProps, SecureInputElement>;
export declare const SecureTextArea: Component<SecureTextAreaProps, SecureTextAreaElement>;
export declare const SecureSelect: Component<SecureSelectProps, SecureSelectElement>;
export declare const SecureRadio: Component<SecureRadioProps, SecureRadioElement>;
export declare const SecureUpload: Component<SecureUploadProps, SecureUploadElement>;
export declare const SecureParagraph: Component<SecureTextProps<SecureParagraphElement>, SecureParagraphElement>;
export declare const SecureSpan: Component<SecureTextProps<SecureSpanElement>, SecureSpanElement>;
export declare const SecureCopy: Component<SecureButtonProps<SecureCopyElement>, SecureCopyElement>;
export declare const SecureDownload: Component<SecureButtonProps<SecureDownloadElement>, SecureDownloadElement>;
export declare const SecureImage: Component<SecureFileProps<SecureImageElement>, SecureImageElement>;
export declare const SecureViewer: Component<SecureFileProps<SecureViewerElement>, SecureViewerElement>;
